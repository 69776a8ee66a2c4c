import dataclasses

import numpy as np
import pytest
import torch
from skysense.pretrain.collate import collate
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.correspondence import correspond, random_points, sample_at, seen, seen_dates
from skysense.pretrain.crops import Crop
from skysense.pretrain.views import make_sample
from window_fixtures import random_stack, stack, window

STILL = PretrainConfig(hr_crop=64, drop_modality=0, drop_date=0)


def affine(*crops):
    return torch.stack([torch.from_numpy(crop.to_window()) for crop in crops])


def seeded(group, seed):
    return [torch.Generator().manual_seed(100 * seed + b) for b in range(len(group.scenes))]


def positions(crop, side=64):
    """(1, 2, n, n) what a crop of a window shows whose values are the pixel centres' rows and columns."""
    rows, cols = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5, indexing="ij")
    return torch.from_numpy(crop.turn(crop.cut(np.stack((rows, cols)))).copy())[None]


def centres(n):
    return (torch.cartesian_prod(torch.arange(n), torch.arange(n)) + 0.5).double()[None]


@pytest.mark.parametrize("seed", range(20))
def test_there_and_back_is_the_same_point(seed):
    rng = np.random.default_rng(seed)
    u, v = (
        Crop(
            *rng.integers(0, 20, 2).tolist(),
            int(rng.integers(20, 44)),
            32,
            int(rng.integers(4)),
            bool(rng.integers(2)),
        )
        for _ in range(2)
    )
    points = torch.from_numpy(rng.random((1, 50, 2)) * 32)
    there, inside = correspond(affine(u), affine(v), (32, 32), points)
    back, _ = correspond(affine(v), affine(u), (32, 32), there)
    torch.testing.assert_close(back, points, atol=1e-9, rtol=0)
    at = there @ affine(v)[:, :, :2].mT + affine(v)[:, None, :, 2]
    box = torch.tensor([[v.row, v.col]]) <= at + 1e-9
    assert torch.equal(
        inside, (box & (at <= torch.tensor([[v.row + v.side, v.col + v.side]]) + 1e-9)).all(-1)
    )


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_whole_pixel_views_show_the_same_place_exactly(turns, flip):
    u, v = Crop(3, 9, 16, 16, 1, True), Crop(8, 5, 16, 16, turns, flip)
    points_v, inside = correspond(affine(u), affine(v), (16, 16), centres(16))
    assert int(inside.sum()) == 11 * 12
    shown_u = sample_at(positions(u), centres(16), 1)
    shown_v = sample_at(positions(v), points_v, 1)
    assert torch.equal(shown_u[inside], shown_v[inside])
    between = (
        torch.rand(1, 200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 15 + 0.5
    )
    points_v, inside = correspond(affine(u), affine(v), (16, 16), between)
    inside &= ((points_v >= 0.5) & (points_v <= 15.5)).all(-1)
    torch.testing.assert_close(
        sample_at(positions(u), between, 1)[inside], sample_at(positions(v), points_v, 1)[inside]
    )


def test_scaled_views_of_a_window_show_the_same_place():
    """HR alone, through the whole of `make_sample`: bands hold positions, so both views must agree on them."""
    side = 96
    values = np.zeros((1, 3, side, side))
    values[:, 0] = (np.arange(side) + 0.5)[:, None] / side
    values[:, 1] = (np.arange(side) + 0.5) / side
    config = dataclasses.replace(
        STILL, hr_colour_chance=0, hr_grey_chance=0, hr_blur=0.1, hr_solarise_chance=0, hr_noise=0
    )
    rng = np.random.default_rng(0)
    (group,) = collate([make_sample(window(hr=stack(values)), config, rng) for _ in range(12)])
    u, v, there = random_points(group, 40, seeded(group, 0))
    std, mean = torch.tensor([0.229, 0.224]), torch.tensor([0.485, 0.456])
    shown = [
        (sample_at(view.hr[:, :2], points, 1) * std + mean) * side
        for view, points in ((group.views[0], u), (group.views[1], v))
    ]
    at = u @ group.to_window[0][:, :, :2].mT + group.to_window[0][:, None, :, 2]
    inner = there & ((at > 2) & (at < side - 2)).all(-1)
    for points in (u, v):
        inner &= ((points > 2) & (points < 62)).all(-1)
    assert int(inner.sum()) > 200
    for values in shown:
        torch.testing.assert_close(values[inner].double(), at[inner], atol=2e-4, rtol=0)


def test_sampling_is_exact_at_centres_bilinear_between_and_carried_on_beyond():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]], requires_grad=True)
    points = torch.tensor([[[0.5, 0.5], [1.5, 1.5], [1.0, 0.5], [1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]])
    out = sample_at(maps, points, 1)
    assert out[0, :, 0].tolist() == [1.0, 5.0, 2.0, 2.75, 1.0, 5.0]
    out[0, 3, 0].backward()
    assert maps.grad.flatten().tolist() == [0.25] * 4
    assert sample_at(maps, points * 8, 8)[0, :, 0].tolist() == out[0, :, 0].tolist()


def test_sampling_a_batch_keeps_samples_apart():
    maps = torch.randn(3, 4, 5, 6)
    points = centres(5).expand(3, -1, -1)
    assert torch.equal(sample_at(maps, points, 1), maps[..., :5].flatten(2).mT)


def grown(modality="s2", bands=10, holes=0.3, count=6):
    rng = np.random.default_rng(0)
    raws = [window(**{modality: random_stack(seed, 3, bands, 32, holes=holes)}) for seed in range(count)]
    return collate([make_sample(raw, STILL, rng) for raw in raws])[0]


def test_random_points_are_distinct_pixel_centres_seen_in_both_views():
    group = grown()
    u, v, there = random_points(group, 64, seeded(group, 0))
    assert u.shape == v.shape == (6, 64, 2) and there.all()
    mapped, inside = correspond(*group.to_window, (16, 16), u)
    assert torch.equal(mapped, v) and inside.all()
    for points, inputs in ((u, group.views[0]), (v, group.views[1])):
        assert torch.equal(points % 1, torch.full_like(points, 0.5))
        assert (sample_at(seen(inputs).float()[:, None], points, 1) == 1).all()
    assert all(len(set(map(tuple, sample.tolist()))) == 64 for sample in u)
    again = random_points(group, 64, seeded(group, 0))
    other = random_points(group, 64, seeded(group, 1))
    assert torch.equal(again[0], u) and not torch.equal(other[0], u)


def test_what_a_sample_draws_does_not_depend_on_its_company():
    raws, rng = [window(s2=random_stack(seed, 2, 10, 32)) for seed in range(3)], np.random.default_rng(0)
    samples = [make_sample(raw, STILL, rng) for raw in raws]
    (group,), (last,) = collate(samples), collate(samples[2:])
    together, _, _ = random_points(group, 9, seeded(group, 0))
    alone, _, _ = random_points(last, 9, seeded(group, 0)[2:])
    assert torch.equal(together[2:], alone)


def test_fewer_places_than_wanted_are_told():
    group = grown(count=2)
    u, v, there = random_points(group, 400, seeded(group, 0))
    mapped, inside = correspond(*group.to_window, (16, 16), centres(16).expand(2, -1, -1))
    both = (
        inside
        & (sample_at(seen(group.views[0]).float()[:, None], centres(16).expand(2, -1, -1), 1)[..., 0] == 1)
        & (sample_at(seen(group.views[1]).float()[:, None], mapped, 1)[..., 0] == 1)
    )
    assert u.shape == v.shape == (2, 400, 2)
    assert there.sum(1).tolist() == both.sum(1).tolist()


def test_a_pixel_counts_by_itself_and_by_its_patch():
    (group,) = collate([make_sample(window(s2=random_stack(0, 2, 10, 32)), STILL, np.random.default_rng(0))])
    inputs = group.views[0]
    inputs.s2_valid[0, 0, :4, :4] = False
    inputs.s2_valid[0, 0, 0, :4] = True  # 4 of 16 pixels: the patch is not a token
    inputs.s2_valid[0, 1, :4, :2] = False  # 8 of 16: it is one, on what it saw
    dates = seen_dates(inputs, "s2")
    assert not dates[0, 0, :4, :4].any() and dates[0, 0, 4:].all()
    assert not dates[0, 1, :4, :2].any() and dates[0, 1, :4, 2:].all()
    assert torch.equal(seen(inputs), dates.any(1))
    assert seen_dates(inputs, "s1") is None
    with pytest.raises(ValueError, match="s1"):
        seen(inputs, "s1")


def test_points_of_one_modality_were_seen_by_it():
    s2, hr = random_stack(0, 2, 10, 32), random_stack(1, 1, 3, 128)
    s2.valid[:, 16:] = False
    hr.valid[:, :, :64] = False
    raw = window(s2=s2, hr=hr, hr_per_base=4)
    rng, drawn = np.random.default_rng(0), {}
    group = collate([make_sample(raw, STILL, rng) for _ in range(8)])[0]
    for modality in ("s2", "hr"):
        u, _, there = random_points(group, 10, seeded(group, 0), modality)
        drawn[modality] = (u @ group.to_window[0][:, :, :2].mT + group.to_window[0][:, None, :, 2])[there]
        assert len(drawn[modality]) > 10
    assert (drawn["s2"][:, 0] < 16).all() and (drawn["hr"][:, 1] > 16).all()


def test_a_local_view_corresponds_to_a_global_one():
    config = dataclasses.replace(STILL, local_views=1)
    raws = [window(s2=random_stack(seed, 2, 10, 32)) for seed in range(5)]
    rng = np.random.default_rng(0)
    (group,) = collate([make_sample(raw, config, rng) for raw in raws])
    u, v, there = random_points(group, 20, seeded(group, 0), views=(2, 0))
    assert there.any(1).all()
    assert (u[there] < 8).all() and (v[there] < 16).all()
    mapped, _ = correspond(group.to_window[2], group.to_window[0], (16, 16), u)
    assert torch.equal(mapped, v)
