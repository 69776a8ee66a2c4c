"""Stages of Swin join a head where polygons held out say that they help."""

import numpy as np
import pytest
from skysense.finetune.features import Block
from skysense.finetune.judging import held_out_folds
from skysense.finetune.stages import columns_of, helpful_blocks

BANDS = Block("hr.bands", 3)
STAGES = tuple(Block(f"hr.{number}", 4 * 2**number) for number in (1, 2, 3))


def samples(told, polygons=16, per=10, seed=0):
    """Pixels of two classes: `told` says in which stages the class shows; in the others each polygon has a mark of its own."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(polygons), per)
    ids = groups % 2 + 1
    side = (2.0 * ids - 3)[:, None]
    parts = [0.3 * side + random.normal(size=(len(ids), BANDS.dim))]
    for stage in STAGES:
        mark = random.normal(size=(polygons, stage.dim))[groups]
        noise = random.normal(size=(len(ids), stage.dim))
        parts.append(side + noise if stage.stage in told else 3 * mark + 0.3 * noise)
    return np.concatenate(parts, 1).astype(np.float32), ids, groups


def chosen(told, blocks=(BANDS, *STAGES), **options):
    x, ids, groups = samples(told, **options)
    repeats = [held_out_folds(ids, groups), held_out_folds(ids, groups, drawing=1)]
    return helpful_blocks(x[:, columns_of(blocks, (BANDS, *STAGES))], ids, groups, repeats, blocks)


def test_marks_of_the_polygons_are_left_out_and_what_tells_the_class_is_kept():
    assert chosen(told=()) == (BANDS,)
    assert chosen(told=(1,)) == (BANDS, STAGES[0])
    assert chosen(told=(1, 2)) == (BANDS, *STAGES[:2])


def test_alone_the_first_stage_always_stays():
    assert chosen(told=(), blocks=STAGES) == STAGES[:1]
    assert chosen(told=(1, 2, 3), blocks=STAGES)[0] == STAGES[0]


def test_nothing_is_left_out_where_nothing_can_be_held_out():
    x, ids, groups = samples(told=(), polygons=2)
    assert helpful_blocks(x, ids, groups, [held_out_folds(ids, groups)], (BANDS, *STAGES)) == (BANDS, *STAGES)


def test_blocks_without_stages_stay():
    blocks = (Block("fused", 20), Block("s2.series", 11))
    x, ids, groups = samples(told=())
    assert helpful_blocks(x, ids, groups, [held_out_folds(ids, groups)], blocks) == blocks


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("hr.1", 1),
        ("before.hr.4", 4),
        ("difference.hr.2", 2),
        ("hr.bands", 0),
        ("fused", 0),
        ("s2.series", 0),
    ],
)
def test_a_block_knows_its_stage(name, stage):
    assert Block(name, 1).stage == stage


def test_columns_follow_the_blocks_order():
    assert columns_of((STAGES[0],), (BANDS, STAGES[0])).tolist() == [False] * 3 + [True] * 8
