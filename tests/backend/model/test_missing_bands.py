import numpy as np
import torch
from skysense.model.bands import _COVARIANCE, _MEAN, with_all_bands
from skysense.scene.sensors import SENSORS

BANDS = SENSORS["s2"].bands


def present(*lacking: str, dates: int = 1) -> np.ndarray:
    return np.array([[band not in lacking for band in BANDS]] * dates)


def spectra(count: int = 4000) -> torch.Tensor:
    """Normalised spectra as they are found, (1, 10, count, 1)."""
    found = np.random.default_rng(0).multivariate_normal(_MEAN, _COVARIANCE, count, check_valid="ignore")
    return torch.from_numpy(found.T[None, :, :, None]).float()


def test_what_is_there_stays_and_what_stands_in_a_missing_band_does_not_matter():
    x, there = spectra(), present("B8", "B2")
    one, other = x.clone(), x.clone()
    other[:, BANDS.index("B8")] = 1e6
    filled = with_all_bands(one, there, "s2")
    assert torch.equal(filled, with_all_bands(other, there, "s2"))
    assert torch.equal(filled[:, there[0]], x[:, there[0]])
    assert torch.equal(with_all_bands(x, present(), "s2"), x)


def test_a_missing_band_is_told_better_than_by_its_mean():
    x = spectra()
    for band in BANDS:
        place = BANDS.index(band)
        told = with_all_bands(x.clone(), present(band), "s2")[0, place]
        assert (told - x[0, place]).square().mean() < 0.2 * x[0, place].var()


def test_one_known_band_is_the_line_of_regression():
    x = spectra(1)
    told = with_all_bands(x.clone(), present(*BANDS[1:]), "s2")[0, 3, 0, 0]
    slope = 1.666 / (2.040 + 0.01)
    assert torch.isclose(told, -0.157 + slope * (x[0, 0, 0, 0] - 0.294), atol=1e-6)


def test_each_date_has_its_own_bands_and_a_date_without_any_is_at_the_mean():
    x = spectra(5).repeat(3, 1, 1, 1)
    there = np.stack([present("B4")[0], present(*BANDS)[0], present()[0]])
    filled = with_all_bands(x.clone(), there, "s2")
    assert torch.equal(filled[0], with_all_bands(x[:1].clone(), present("B4"), "s2")[0])
    assert not filled[1].any() and torch.equal(filled[2], x[2])


def test_radar_is_not_told_from_its_other_band():
    x = torch.ones(1, 2, 3, 3)
    assert not with_all_bands(x, np.array([[True, False]]), "s1")[0, 1].any()
