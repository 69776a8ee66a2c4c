"""The seasons of the synthetic covers."""

import itertools

import numpy as np
import pytest
from skysense.synthetic.phenology import BANDS, CALENDARS, SPECTRA, green_share, reflectance


def ndvi(kind, day: float, **stand: float) -> float:
    red, nir = (reflectance(kind, day, **stand)[BANDS.index(b)] for b in ("B4", "B8"))
    return float((nir - red) / (nir + red))


def test_every_spectrum_has_every_band_and_every_calendar_its_parts() -> None:
    assert all(len(s) == len(BANDS) and 0 < min(s) < max(s) < 1 for s in SPECTRA.values())
    for calendar in CALENDARS.values():
        assert {calendar.leaves, calendar.background} <= set(SPECTRA)
        for knots in (calendar.green, calendar.dry):
            assert all(a < b for (a, _), (b, _) in itertools.pairwise(knots))
            assert all(0 <= share <= 1 for _, share in knots)


def test_cereals_are_green_in_may_and_maize_in_august() -> None:
    assert ndvi("cereal", 130) > 0.8 > 0.4 > ndvi("cereal", 215)
    assert ndvi("maize", 215) > 0.8 > 0.4 > ndvi("maize", 130)
    assert ndvi("conifer", 15) > 0.7 > ndvi("deciduous", 15)


def test_delay_shifts_the_season_and_vigour_thins_it() -> None:
    assert green_share("maize", 175, delay=10) == pytest.approx(green_share("maize", 165))
    assert green_share("maize", 205, vigour=0.5) == pytest.approx(0.475)
    assert green_share("asphalt", 205) == 0
    np.testing.assert_array_equal(reflectance("water", 10), reflectance("water", 200))


def test_the_year_closes() -> None:
    for kind in ("cereal", "maize", "grass", "lawn", "verge", "deciduous", "conifer"):
        assert np.abs(reflectance(kind, 366) - reflectance(kind, 1)).max() < 0.01
