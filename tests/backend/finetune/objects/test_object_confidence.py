"""Scores of finds as the share of such finds that are right."""

import numpy as np
import pytest
import torch
from skysense.finetune.objects.confidence import Confidence, fit_confidence, held_out_confidence
from skysense.finetune.objects.network import ObjectNet


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def finds(count, slope, shift, seed=0):
    """Finds whose chance of being right follows from their score."""
    random = np.random.default_rng(seed)
    odds = random.normal(-0.5, 1, count)
    return sigmoid(odds), random.random(count) < sigmoid(slope * odds + shift)


def test_the_share_that_is_right_is_found():
    scores, right = finds(20_000, slope=2.0, shift=1.0)
    line = fit_confidence(scores, right)
    assert line.slope == pytest.approx(2, abs=0.1) and line.shift == pytest.approx(1, abs=0.1)
    shown = line.of(scores)
    for low in (0.1, 0.3, 0.5, 0.7):
        inside = (shown >= low) & (shown < low + 0.2)
        assert shown[inside].mean() == pytest.approx(right[inside].mean(), abs=0.03)


def test_of_few_finds_it_stays_near_the_scores_and_never_turns_their_order_round():
    assert fit_confidence(np.zeros(0), np.zeros(0, bool)) == Confidence(1.0, 0.0)
    sure = fit_confidence(np.array([0.5, 0.6, 0.7]), np.ones(3, bool)).of(np.array([0.6]))
    assert 0.6 < sure < 0.95
    upside_down = np.arange(200) < 100
    scores = np.where(upside_down, 0.1, 0.3)
    shown = fit_confidence(scores, upside_down).of(scores)
    assert (shown[~upside_down] > shown[0]).all() and np.abs(shown - 0.5).max() < 0.1


def test_a_network_shows_confidences_and_finds_what_it_found():
    torch.manual_seed(0)
    net = ObjectNet(3, (), 2).eval()
    torch.nn.init.normal_(net.out.weight)
    seen = torch.rand(1, 3, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool), ()
    with torch.inference_mode():
        heat, geometry = net(*seen)
        line = Confidence(1.7, 0.6)
        line.put_into(net)
        after, unmoved = net(*seen)
    torch.testing.assert_close(after.sigmoid().double(), torch.from_numpy(line.of(heat.sigmoid().double().numpy())), rtol=0, atol=1e-5)  # fmt: skip
    assert torch.equal(unmoved, geometry) and torch.equal(after.argmax(1), heat.argmax(1))


def test_a_block_does_not_tell_how_sure_to_be_of_itself():
    scores, right = finds(300, slope=1.0, shift=0.0)
    blocks = np.arange(300) % 3
    other = right.copy()
    other[blocks == 0] = ~right[blocks == 0]
    one, two = (held_out_confidence(scores, said, blocks) for said in (right, other))
    assert np.array_equal(one[blocks == 0], two[blocks == 0]) and not np.array_equal(one, two)
    np.testing.assert_allclose(
        one[blocks == 0], fit_confidence(scores[blocks > 0], right[blocks > 0]).of(scores[blocks == 0])
    )
