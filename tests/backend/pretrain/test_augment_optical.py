import dataclasses

import numpy as np
import pytest
import torch
from skysense.model.inputs import normalize
from skysense.pretrain.augment_optical import blurred, hr_view, nearest, newest_picture, resized
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.crops import Crop
from window_fixtures import random_stack, stack

PLAIN = PretrainConfig(
    date_jitter=0, hr_colour_chance=0, hr_grey_chance=0, hr_blur=0.1, hr_solarise_chance=0, hr_noise=0
)
WHOLE = Crop(0, 0, 16, 16)


def unblurred_seed():
    """A generator with which the second view is not blurred."""
    return np.random.default_rng(1)


def shown(view):
    """The view's picture on 0..1."""
    return (
        view.x * torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        + torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    )


def test_undisturbed_it_is_the_normalised_crop():
    data, crop = random_stack(0, 1, 4, 32), Crop(3, 6, 16, 16, 3, True)
    view = hr_view(data, crop, 1, 1, PLAIN, unblurred_seed())
    expected = normalize(torch.from_numpy(crop.turn(crop.cut(data.values[0, :3])).copy()), "hr")
    torch.testing.assert_close(view.x, expected)
    assert view.day == 0 and view.valid.all()


def test_an_encoder_of_four_bands_sees_near_infrared():
    bands, crop = ("R", "G", "B", "NIR"), Crop(3, 6, 16, 16, 3, True)
    data = random_stack(0, 1, 4, 32)
    view = hr_view(data, crop, 1, 1, PLAIN, unblurred_seed(), bands)
    expected = normalize(torch.from_numpy(crop.turn(crop.cut(data.values[0])).copy()), "hr", bands)
    torch.testing.assert_close(view.x, expected)
    usual = hr_view(random_stack(0, 1, 4, 32), crop, 1, 1, PLAIN, unblurred_seed())
    assert torch.equal(usual.x, view.x[:3])
    lacking = hr_view(random_stack(0, 1, 3, 32), crop, 1, 1, PLAIN, unblurred_seed(), bands)
    assert lacking.x.shape == (4, 16, 16) and not lacking.x[3].any() and lacking.x[:3].all(0).any()


def test_near_infrared_is_no_colour():
    config = dataclasses.replace(
        PLAIN, hr_colour_chance=1, hr_brightness=0, hr_saturation=0.9, hr_grey_chance=1
    )
    data, bands = random_stack(0, 1, 4, 16), ("R", "G", "B", "NIR")
    view = hr_view(data, WHOLE, 1, 1, config, unblurred_seed(), bands)
    assert torch.allclose(
        shown(dataclasses.replace(view, x=view.x[:3]))[0],
        shown(dataclasses.replace(view, x=view.x[:3]))[1],
        atol=1e-6,
    )
    torch.testing.assert_close(
        view.x, torch.cat((view.x[:3], normalize(torch.from_numpy(data.values[0]), "hr", bands)[3:]))
    )


def test_fused_hr_is_cut_on_the_base_lattice():
    data = random_stack(0, 1, 3, 64)
    view = hr_view(data, Crop(2, 5, 8, 8), 4, 1, PLAIN, unblurred_seed())
    torch.testing.assert_close(shown(view), torch.from_numpy(data.values[0, :, 8:40, 20:52]))


def test_the_newest_valid_pixel_wins_and_dates_the_picture():
    valid = np.ones((3, 16, 16), bool)
    valid[1, :4] = False
    valid[2, :8] = False
    data = stack(np.array([1.0, 2, 3])[:, None, None, None] * np.ones((3, 3, 16, 16)), valid)
    picture, ok, present, newest = newest_picture(data, WHOLE, 1)
    np.testing.assert_array_equal(picture[0, :, 0], [1] * 4 + [2] * 4 + [3] * 8)
    assert ok.all() and present.all() and newest == 2
    assert newest_picture(data, Crop(0, 0, 8, 8), 1)[3] == 1
    data.valid[:, :8] = False
    assert newest_picture(data, Crop(0, 0, 8, 8), 1) is None
    assert hr_view(data, Crop(0, 0, 8, 8), 1, 0, PLAIN, np.random.default_rng(0)) is None


@pytest.mark.parametrize("size", [10, 16, 24])
def test_resizing_is_the_usual_bilinear_rule(size):
    picture = np.random.default_rng(0).random((3, 16, 16), np.float32)
    ours = resized(picture, np.ones((16, 16), bool), size)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(picture)[None], size=(size, size), mode="bilinear", align_corners=False
    )[0]
    torch.testing.assert_close(torch.from_numpy(ours), theirs)


def test_resizing_takes_nothing_from_invalid_pixels():
    valid = np.ones((16, 16), bool)
    valid[:, 6:] = False
    picture = np.where(valid, np.float32(0.5), np.float32(np.nan)).astype(np.float32)[None].repeat(3, 0)
    out, ok = resized(picture, valid, 24), nearest(valid, 24)
    np.testing.assert_array_equal(ok[0], (np.arange(24) + 0.5) * 16 / 24 < 6)
    np.testing.assert_allclose(out[:, ok], 0.5, rtol=1e-6)


def test_blur_is_gaussian_inside_and_keeps_a_flat_picture_flat_up_to_edges_and_holes():
    point = np.zeros((3, 41, 41), np.float32)
    point[:, 20, 20] = 1
    out = blurred(point, np.ones((41, 41), bool), 1.5)[0]
    axis = np.exp(-0.5 * ((np.arange(41) - 20) / 1.5) ** 2) * (abs(np.arange(41) - 20) <= 5)
    np.testing.assert_allclose(out, np.outer(axis, axis) / axis.sum() ** 2, atol=1e-7)

    valid = np.random.default_rng(0).random((41, 41)) > 0.4
    flat = np.where(valid, np.float32(0.7), np.float32(1e6))[None].repeat(3, 0)
    out = blurred(flat, valid, 2.0)
    np.testing.assert_allclose(out[:, valid], 0.7, rtol=1e-5)
    assert not out[:, ~valid].any()


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("crop", [WHOLE, Crop(0, 0, 24, 16, 1), Crop(2, 3, 12, 16, 2, True)])
def test_nothing_under_invalid_pixels_or_in_missing_bands_matters(number, crop):
    data = random_stack(0, 2, 4, 24, holes=0.3)
    data.band_present[0, 1] = False
    views = []
    for fill in (0.0, np.nan, 1e30):
        values = np.where(data.valid[:, None], data.values, np.float32(fill)).astype(np.float32)
        values[0, 1] = fill
        filled = dataclasses.replace(data, values=values)
        views.append(
            [hr_view(filled, crop, 1, number, PretrainConfig(), np.random.default_rng(s)) for s in range(8)]
        )
    for others in views[1:]:
        for view, other in zip(views[0], others):
            assert torch.equal(view.x, other.x) and torch.equal(view.valid, other.valid)
            assert torch.isfinite(view.x).all() and not view.x[:, ~view.valid].any()


def test_a_missing_band_is_zero_after_normalising():
    data = random_stack(0, 1, 3, 16)
    data.band_present[0, 2] = False
    view = hr_view(data, WHOLE, 1, 0, PretrainConfig(hr_grey_chance=1), np.random.default_rng(0))
    assert not view.x[2].any() and view.x[0].any()


def test_grey_has_three_equal_bands_and_comes_as_often_as_asked():
    data, config = random_stack(0, 1, 3, 16), dataclasses.replace(PLAIN, hr_grey_chance=0.3)
    rng, grey = np.random.default_rng(0), 0
    for _ in range(300):
        picture = shown(hr_view(data, WHOLE, 1, 1, config, rng))
        grey += torch.allclose(picture[0], picture[2], atol=1e-6)
    assert 65 < grey < 115


def test_views_are_blurred_and_solarised_unequally():
    config = dataclasses.replace(PLAIN, hr_solarise_chance=0.2, hr_blur=2.0)
    bright = stack(np.full((1, 3, 16, 16), 0.9))
    rough = random_stack(0, 1, 3, 16)
    rng = np.random.default_rng(0)
    for number, blurs, solarised in ((0, (190, 200), (0, 0)), (1, (8, 35), (25, 55)), (2, (75, 125), (0, 0))):
        views = [shown(hr_view(bright, WHOLE, 1, number, config, rng)) for _ in range(200)]
        dark = sum(bool((view < 0.2).all()) for view in views)
        assert solarised[0] <= dark <= solarised[1]
        views = [
            shown(hr_view(rough, WHOLE, 1, number, dataclasses.replace(config, hr_solarise_chance=0), rng))
            for _ in range(200)
        ]
        changed = sum(
            not torch.allclose(view, torch.from_numpy(rough.values[0]), atol=1e-6) for view in views
        )
        assert blurs[0] <= changed <= blurs[1]


def test_colour_jitter_stays_within_its_bounds_and_keeps_the_bands_apart():
    config = dataclasses.replace(PLAIN, hr_colour_chance=1.0)
    red = np.zeros((1, 3, 16, 16))
    red[:, 0], red[:, 1], red[:, 2] = 0.5, 0.3, 0.2
    rng, means = np.random.default_rng(0), []
    for _ in range(100):
        r, g, b = shown(hr_view(stack(red), WHOLE, 1, 1, config, rng)).mean((1, 2)).tolist()
        assert r > g > b > -1e-6 and r < 0.5 * 1.4 * 1.4 * 1.2
        means.append((r + g + b) / 3)
    assert np.std(means) > 0.03


def test_noise_is_per_pixel_and_band():
    config = dataclasses.replace(PLAIN, hr_noise=0.01)
    picture = shown(hr_view(stack(np.full((1, 3, 16, 16), 0.5)), WHOLE, 1, 1, config, unblurred_seed()))
    assert 0.009 < float(picture.std()) < 0.011
    assert float((picture[0] - picture[1]).std()) > 0.01


def test_contrast_is_about_the_mean_of_what_was_seen():
    config = dataclasses.replace(PLAIN, hr_colour_chance=1.0)
    flat = np.full((1, 3, 16, 16), 0.5)
    valid = np.random.default_rng(0).random((1, 16, 16)) > 0.5
    for seed in range(5):
        whole, holed = (
            hr_view(data, WHOLE, 1, 1, config, np.random.default_rng(seed))
            for data in (stack(flat), stack(flat, valid))
        )
        torch.testing.assert_close(holed.x[:, holed.valid], whole.x[:, holed.valid])
