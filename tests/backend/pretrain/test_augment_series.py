import dataclasses
import datetime

import numpy as np
import pytest
import torch
from skysense.model.inputs import normalize
from skysense.pretrain.augment_series import disturbed_days, series_view, undated
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.crops import Crop
from window_fixtures import random_stack, stack

PLAIN = PretrainConfig(
    s2_dates=4, s1_dates=3, drop_date=0, date_jitter=0, s2_gain=0, s2_noise=0, s1_gain=0, s1_noise=0
)
WHOLE = Crop(0, 0, 8, 8)


@pytest.mark.parametrize("modality,bands,dates", [("s2", 10, 4), ("s1", 2, 3)])
def test_undisturbed_it_is_the_normalised_crop_of_drawn_dates_in_order(modality, bands, dates):
    data = random_stack(0, 9, bands, 32, 3000)
    crop = Crop(4, 7, 8, 8, 1, True)
    view = series_view(data, modality, crop, PLAIN, np.random.default_rng(0))
    assert view.x.shape == (dates, bands, 8, 8) and view.x.dtype == torch.float32
    index = [(int(order) - 18262) // 10 for order in view.order]  # 2020-01-01 is day 18262
    assert index == sorted(set(index))
    assert view.day.tolist() == [10 * t for t in index]
    expected = normalize(torch.from_numpy(crop.turn(crop.cut(data.values[index])).copy()), modality)
    torch.testing.assert_close(view.x, expected)


def test_an_encoder_of_four_bands_gets_its_own_of_the_same_view():
    data, noisy = random_stack(0, 9, 10, 32, 3000), PretrainConfig()
    four = series_view(data, "s2", WHOLE, noisy, np.random.default_rng(3), ("B2", "B3", "B4", "B8"))
    ten = series_view(data, "s2", WHOLE, noisy, np.random.default_rng(3))
    assert torch.equal(four.x, ten.x[:, [0, 1, 2, 6]]) and torch.equal(four.day, ten.day)


def test_each_view_draws_its_own_dates_and_takes_all_when_there_are_few():
    rng = np.random.default_rng(0)
    many, few = random_stack(0, 12, 10, 8), random_stack(0, 3, 10, 8)
    drawn = {tuple(series_view(many, "s2", WHOLE, PLAIN, rng).day.tolist()) for _ in range(20)}
    assert len(drawn) > 10
    assert all(series_view(few, "s2", WHOLE, PLAIN, rng).day.tolist() == [0, 10, 20] for _ in range(5))


def test_dates_that_saw_nothing_of_the_crop_are_left_out_and_cloudy_ones_are_drawn_less():
    valid = np.ones((8, 8, 8), bool)
    valid[0, :, :4] = False  # nothing in the crop
    valid[1, 1:] = False  # an eighth of it
    data, crop = stack(np.ones((8, 10, 8, 8)), valid), Crop(0, 0, 4, 4)
    rng, days = np.random.default_rng(0), []
    for _ in range(300):
        days += series_view(data, "s2", crop, PLAIN, rng).day.tolist()
    assert 0 not in days
    assert 0 < days.count(10) < days.count(20) / 2


def test_a_crop_that_was_never_seen_has_no_view():
    valid = np.ones((3, 8, 8), bool)
    valid[:, :4] = False
    data = stack(np.ones((3, 10, 8, 8)), valid)
    assert series_view(data, "s2", Crop(0, 0, 4, 4), PLAIN, np.random.default_rng(0)) is None


def test_single_dates_are_dropped_but_never_all():
    data = random_stack(0, 4, 10, 8)
    rng = np.random.default_rng(0)
    some = dataclasses.replace(PLAIN, drop_date=0.25)
    lengths = [len(series_view(data, "s2", WHOLE, some, rng).day) for _ in range(400)]
    assert 2.9 < np.mean(lengths) < 3.1
    every = dataclasses.replace(PLAIN, drop_date=1.0)
    assert len(series_view(data, "s2", WHOLE, every, rng).day) == 1


def test_days_are_shifted_round_the_year_and_unknown_ones_stay_unknown():
    class Fixed:
        def __init__(self, shift):
            self.shift = shift

        def integers(self, low, high, size):
            assert (low, high) == (-5, 6)
            return np.full(size, self.shift)

    new_year, new_years_eve = datetime.date(2021, 1, 1), datetime.date(2020, 12, 31)
    assert disturbed_days([new_year, None], 5, Fixed(-3)).tolist() == [362, -1]
    assert disturbed_days([new_years_eve, datetime.date(2019, 12, 31)], 5, Fixed(0)).tolist() == [364, 364]
    assert disturbed_days([new_years_eve], 5, Fixed(2)).tolist() == [1]
    shifts = disturbed_days([datetime.date(2020, 6, 1)] * 500, 5, np.random.default_rng(0)) - 152
    assert set(shifts.tolist()) == set(range(-5, 6))


def test_the_order_is_that_before_the_shift():
    data = random_stack(0, 4, 10, 8)
    shifted = dataclasses.replace(PLAIN, date_jitter=5)
    view = series_view(data, "s2", WHOLE, shifted, np.random.default_rng(0))
    assert (view.order - 18262).tolist() == [0, 10, 20, 30]
    assert view.day.tolist() != [0, 10, 20, 30]


def test_what_has_no_date_is_told_apart_by_its_place_in_the_stack():
    data = random_stack(0, 4, 10, 8)
    dates = (data.dates[0], None, data.dates[2], None)
    view = series_view(dataclasses.replace(data, dates=dates), "s2", WHOLE, PLAIN, np.random.default_rng(0))
    assert view.order.tolist() == [undated(1), undated(3), 18262, 18282]
    assert view.day.tolist() == [-1, -1, 0, 20]
    assert undated(3) - undated(1) == 2


def test_gain_of_s2_is_a_factor_and_that_of_s1_a_shift_in_decibel_per_date_and_band():
    rng = np.random.default_rng(0)
    levels = np.array([1000.0, 2000.0])[:, None]
    data = stack(np.broadcast_to(levels, (40, 10, 2, 8)).swapaxes(2, 3)[..., [0, 1] * 4])
    gained = dataclasses.replace(PLAIN, s2_dates=40, s2_gain=0.05)
    std, mean = 1155.15170768, 884.29673756
    band = series_view(data, "s2", WHOLE, gained, rng).x[:, 0].double() * std + mean
    gains = band[:, 0, 0] / 1000
    torch.testing.assert_close(band[:, 0, 1] / 2000, gains, rtol=1e-5, atol=0)
    assert 0.03 < gains.std() < 0.07 and abs(gains.mean() - 1) < 0.03

    flat = stack(np.full((40, 2, 8, 8), -12.0))
    shifted = dataclasses.replace(PLAIN, s1_dates=40, s1_gain=0.5)
    shifts = series_view(flat, "s1", WHOLE, shifted, rng).x[:, 0].double() * 5.25697717 - 12.54847273 + 12
    assert float(shifts.flatten(1).std(1).max()) < 1e-5
    assert 0.35 < shifts[:, 0, 0].std() < 0.65


def test_noise_is_per_pixel():
    noisy = dataclasses.replace(PLAIN, s2_noise=50)
    x = series_view(
        stack(np.full((4, 10, 8, 8), 884.29673756)), "s2", WHOLE, noisy, np.random.default_rng(0)
    ).x
    assert 0.9 < float(x[:, 0].std()) / (50 / 1155.15) < 1.1


def test_missing_bands_and_invalid_pixels_are_zero_and_nothing_under_them_matters():
    config = PretrainConfig(s2_dates=4)
    data = random_stack(3, 4, 10, 8, 3000, holes=0.3)
    data.band_present[1, [0, 9]] = False
    views = []
    for fill in (0.0, np.nan, 1e30):
        values = np.where(data.valid[:, None], data.values, np.float32(fill))
        values[1, [0, 9]] = fill
        filled = dataclasses.replace(data, values=values.astype(np.float32))
        with np.errstate(all="ignore"):
            views.append(series_view(filled, "s2", WHOLE, config, np.random.default_rng(5)))
    for view in views[1:]:
        assert torch.equal(view.x, views[0].x) and torch.equal(view.valid, views[0].valid)
    view = views[0]
    assert not view.x.permute(0, 2, 3, 1)[~view.valid].any()
    at = (view.order == 18272).nonzero().item()
    assert not view.x[at, [0, 9]].any() and view.x[at, 1].any()
