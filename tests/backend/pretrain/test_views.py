import dataclasses
import time

import numpy as np
import pytest
import torch
from skysense.errors import InputError
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.views import make_sample
from window_fixtures import random_stack, stack, window

SMALL = PretrainConfig(crop=16, hr_crop=64, local_views=2)


def tensors(sample):
    """Everything in a sample that is a number."""
    for view in sample.views:
        yield view.to_window
        for series in (view.s2, view.s1):
            if series is not None:
                yield from (series.x, series.valid, series.day, series.order)
        if view.hr is not None:
            yield from (view.hr.x, view.hr.valid, torch.tensor(view.hr.day))


def fused(holes=0.0):
    return window(
        s2=random_stack(0, 12, 10, 32, 3000, holes),
        s1=random_stack(1, 6, 2, 32, 1, holes),
        hr=random_stack(2, 1, 3, 128, 1, holes),
        hr_per_base=4,
    )


def test_fused_views_have_the_sizes_of_the_settings_globals_first():
    config = dataclasses.replace(SMALL, drop_modality=0, drop_date=0, drop_place=0)
    sample = make_sample(fused(), config, np.random.default_rng(0))
    assert [view.s2.x.shape for view in sample.views] == [(8, 10, s, s) for s in (16, 16, 8, 8)]
    assert [view.s1.x.shape for view in sample.views] == [(4, 2, s, s) for s in (16, 16, 8, 8)]
    assert [view.hr.x.shape for view in sample.views] == [(3, s, s) for s in (64, 64, 32, 32)]
    assert (sample.place, sample.scene, sample.hr_per_base) == ((5.0, 50.0), "north field", 4)
    assert all(
        view.to_window.dtype == torch.float64 and view.to_window.shape == (2, 3) for view in sample.views
    )


def test_a_place_is_forgotten_now_and_then_and_nothing_else_changes():
    made = [
        make_sample(fused(), dataclasses.replace(SMALL, drop_place=share), np.random.default_rng(0))
        for share in (0, 1)
    ]
    assert made[0].place == (5.0, 50.0) and np.isnan(made[1].place).all()
    assert all(torch.equal(one, other) for one, other in zip(tensors(made[0]), tensors(made[1]), strict=True))


@pytest.mark.parametrize("crop,local", [(8, 4), (12, 8), (16, 8), (20, 8), (4, 4)])
def test_local_series_views_are_whole_patches(crop, local):
    config = PretrainConfig(crop=crop, local_views=1)
    sample = make_sample(window(s2=random_stack(0, 3, 10, 32)), config, np.random.default_rng(0))
    assert sample.views[2].s2.x.shape[-2:] == (local, local)


def test_hr_alone_is_scaled_and_its_affine_says_how():
    raw, rng = window(hr=random_stack(0, 1, 3, 96)), np.random.default_rng(0)
    scales, local_scales = [], []
    for _ in range(60):
        sample = make_sample(raw, SMALL, rng)
        assert [tuple(view.hr.x.shape[-2:]) for view in sample.views] == [(64, 64)] * 2 + [(32, 32)] * 2
        for number, view in enumerate(sample.views):
            side = view.hr.x.shape[-1] * float(view.to_window[:, :2].abs().sum()) / 2
            (scales if number < 2 else local_scales).append(side)
    assert 48 <= min(scales) < 55 and 88 < max(scales) <= 96
    assert 24 <= min(local_scales) and max(local_scales) <= 48


def test_all_modalities_of_a_view_show_the_same_place():
    rows = (np.arange(32) + 0.5)[:, None] * np.ones(32)
    fine = np.kron(rows, np.ones((4, 4)))
    raw = window(
        s2=stack(np.broadcast_to(rows, (1, 10, 32, 32))),
        s1=stack(np.broadcast_to(rows, (1, 2, 32, 32))),
        hr=stack(np.broadcast_to(fine / 32, (1, 3, 128, 128))),
        hr_per_base=4,
    )
    still = dataclasses.replace(
        SMALL, drop_modality=0, s2_gain=0, s2_noise=0, s1_gain=0, s1_noise=0, hr_colour_chance=0,
        hr_grey_chance=0, hr_blur=0.1, hr_solarise_chance=0, hr_noise=0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for _ in range(10):
        for view in make_sample(raw, still, rng).views:
            n = view.s2.x.shape[-1]
            centres = torch.cartesian_prod(torch.arange(n) + 0.5, torch.arange(n) + 0.5).double()
            row = (centres @ view.to_window[:, :2].T + view.to_window[:, 2])[:, 0].view(n, n).float()
            s2 = view.s2.x[0, 0] * 1155.15170768 + 884.29673756
            s1 = view.s1.x[0, 0] * 5.25697717 - 12.54847273
            hr = torch.nn.functional.avg_pool2d(view.hr.x[None, :1] * 0.229 + 0.485, 4)[0, 0] * 32
            for shown in (s2, s1, hr):
                torch.testing.assert_close(shown, row, atol=1e-3, rtol=0)


def test_the_same_generator_state_gives_the_same_bits_and_another_others():
    raw = fused(0.2)
    first, same, other = (
        list(tensors(make_sample(raw, SMALL, np.random.default_rng(seed)))) for seed in (3, 3, 4)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, other))


def test_what_lies_under_invalid_pixels_matters_to_no_bit():
    raw = fused(0.3)
    for seed in range(5):
        samples = []
        for fill in (0.0, 1e30, np.nan):
            stacks = {
                name: dataclasses.replace(
                    data,
                    values=np.where(data.valid[:, None], data.values, np.float32(fill)).astype(np.float32),
                )
                for name, data in raw.stacks.items()
            }
            with np.errstate(all="ignore"):
                filled = window(hr_per_base=4, **stacks)
                samples.append(list(tensors(make_sample(filled, SMALL, np.random.default_rng(seed)))))
        for other in samples[1:]:
            assert all(torch.equal(a, b) for a, b in zip(samples[0], other, strict=True))


def test_modalities_are_left_out_now_and_then_but_never_all():
    raw, rng = fused(), np.random.default_rng(0)
    config = PretrainConfig(hr_crop=64, drop_modality=0.3)
    views = [view for _ in range(150) for view in make_sample(raw, config, rng).views]
    for name in ("s2", "s1", "hr"):
        missing = sum(getattr(view, name) is None for view in views)
        assert 60 < missing < 115  # 300 views
    every = PretrainConfig(hr_crop=64, drop_modality=1.0)
    for _ in range(10):
        for view in make_sample(raw, every, rng).views:
            assert sum(getattr(view, name) is not None for name in ("s2", "s1", "hr")) == 1


def test_a_modality_that_saw_nothing_of_a_view_is_none():
    raw = fused()
    raw.stacks["s1"].valid[:] = False
    config = dataclasses.replace(SMALL, drop_modality=0)
    sample = make_sample(raw, config, np.random.default_rng(0))
    assert all(view.s1 is None and view.s2 is not None and view.hr is not None for view in sample.views)


def test_an_empty_window_and_one_too_small_are_named():
    empty = window(s2=stack(np.ones((2, 10, 32, 32)), np.zeros((2, 32, 32), bool)))
    with pytest.raises(InputError, match=r"north field.*no valid pixel"):
        make_sample(empty, SMALL, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"north field.*16 pixels does not fit a window of 12"):
        make_sample(window(s2=random_stack(0, 2, 10, 12)), SMALL, np.random.default_rng(0))


def test_a_sample_takes_milliseconds():
    series = window(s2=random_stack(0, 24, 10, 32, holes=0.1), s1=random_stack(1, 24, 2, 32, holes=0.1))
    picture = window(hr=random_stack(2, 1, 3, 384, holes=0.1))
    for raw, most in ((series, 0.005), (picture, 0.040)):
        rng, took = np.random.default_rng(0), []
        for _ in range(9):
            start = time.process_time()
            make_sample(raw, PretrainConfig(), rng)
            took.append(time.process_time() - start)
        assert min(took) < most
