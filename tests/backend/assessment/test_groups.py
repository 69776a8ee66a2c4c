"""Groups of what hangs together, in blocks as in one go."""

import numpy as np
import pytest
from skysense.assessment import groups
from skysense.assessment.groups import connect, distinct, distinct_pairs, ends, keep, numbered, take


@pytest.fixture(autouse=True, params=[3, 2**18])
def block(request, monkeypatch):
    monkeypatch.setattr(groups, "_BLOCK", request.param)


def test_what_hangs_together_gets_the_lowest_number():
    pairs = np.array([(7, 6), (6, 5), (5, 1), (2, 3), (3, 2), (0, 0)])
    root = connect(8, pairs)
    assert root.tolist() == [0, 1, 2, 2, 4, 1, 1, 1]
    firsts, numbers = numbered(root)
    assert firsts.tolist() == [0, 1, 2, 4] and numbers.tolist() == [0, 1, 2, 2, 3, 1, 1, 1]


def test_ways_are_followed_to_their_ends():
    assert ends(np.array([0, 0, 1, 2, 4, 4, 3], np.int32)).tolist() == [0, 0, 0, 0, 4, 4, 0]


def test_rows_are_taken_and_kept_in_their_order():
    rows = np.arange(20, dtype=np.int32).reshape(10, 2)
    index = np.array([(9, 0), (3, 3), (1, 8), (4, 2)], np.int32)
    assert np.array_equal(take(rows[:, 0], index), 2 * index)
    wanted = np.array([1, 0, 0, 1, 1, 0, 0, 0, 1, 1], bool)
    kept = keep(rows, wanted)
    assert kept.tolist() == [[0, 1], [6, 7], [8, 9], [16, 17], [18, 19]] and np.shares_memory(kept, rows)


def test_pairs_are_distinct():
    pairs = np.random.default_rng(0).integers(0, 9, (60, 2)).astype(np.int32)
    expected = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], 1), axis=0)
    assert np.array_equal(distinct_pairs(*pairs.T), expected)
    found = distinct(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], 1))
    assert len(found) == len(expected) and np.array_equal(np.unique(found, axis=0), expected)
