"""Bands that a product lacks, told from those that it has: the encoders then see a spectrum such as they know.

Sentinel-2's bands vary together, so a missing one is at the mean that a normal distribution has once the others are known. The
distribution is that of 28,000 pixels of 14 open images in Europe and Punjab (`tools/measure_bands.py`).

Shape legend: T dates, C bands, H x W pixels.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.model.inputs import normalize
from skysense.scene.sensors import SENSORS, Modality

#: How model files name this rule: features of an image that lacks a band depend on it.
BANDS_TOLD = "told from the others"
#: Of normalised reflectances, in the model's order of bands.
_MEAN = np.array([0.294, 0.093, -0.118, -0.157, 0.003, 0.105, -0.01, 0.079, -0.444, -0.449])
_COVARIANCE = np.array(
    [
        [2.040, 1.862, 1.630, 1.666, 1.335, 1.165, 1.078, 1.083, 0.827, 0.726],
        [1.862, 1.732, 1.517, 1.580, 1.344, 1.207, 1.124, 1.138, 0.830, 0.712],
        [1.630, 1.517, 1.345, 1.388, 1.136, 1.002, 0.930, 0.941, 0.748, 0.658],
        [1.666, 1.580, 1.388, 1.481, 1.338, 1.232, 1.153, 1.178, 0.833, 0.696],
        [1.335, 1.344, 1.136, 1.338, 1.654, 1.704, 1.609, 1.695, 0.889, 0.620],
        [1.165, 1.207, 1.002, 1.232, 1.704, 1.823, 1.718, 1.832, 0.888, 0.576],
        [1.078, 1.124, 0.930, 1.153, 1.609, 1.718, 1.642, 1.727, 0.829, 0.534],
        [1.083, 1.138, 0.941, 1.178, 1.695, 1.832, 1.727, 1.853, 0.890, 0.564],
        [0.827, 0.830, 0.748, 0.833, 0.889, 0.888, 0.829, 0.890, 0.683, 0.544],
        [0.726, 0.712, 0.658, 0.696, 0.620, 0.576, 0.534, 0.564, 0.544, 0.485],
    ]
)
#: Variance of what a band shows by itself, such as noise: without it differences of neighbouring bands would be trusted too far.
_OWN = 0.01


def model_bands(
    values: Tensor, present: NDArray[np.bool_], modality: Modality, bands: Sequence[str]
) -> Tensor:
    """What an encoder takes of a stack.

    Args:
        values, present: (T, C, H, W) and (T, C), the sensor's bands as `raster.reader.Stack` has them, HR's NIR perhaps last.
        bands: of the encoder, see `ModelConfig.bands`.

    Returns:
        (T, len(bands), H, W) normalised, with missing bands as in `with_all_bands`.
    """
    own = SENSORS[modality].bands
    x = with_all_bands(normalize(values[:, : len(own)], modality), present[:, : len(own)], modality)
    if tuple(bands) == own:
        return x
    names = list(own)
    if "NIR" in bands:
        nir = torch.zeros_like(x[:, :1])
        if values.shape[1] > len(own):
            there = torch.from_numpy(present[:, len(own) :, None, None]).to(x)
            nir = normalize(values[:, len(own) :], modality, ["NIR"]) * there
        x, names = torch.cat((x, nir), 1), [*names, "NIR"]
    return x[:, [names.index(band) for band in bands]]


def with_all_bands(x: Tensor, present: NDArray[np.bool_], modality: Modality) -> Tensor:
    """Fill in the bands that are missing on some dates.

    Args:
        x: (T, C, H, W) normalised; what stands in a missing band does not matter.
        present: (T, C).

    Returns:
        The same, with missing bands of Sentinel-2 told from the others, and those of other sensors, and of dates that have none,
        at the mean of all imagery: neither dark nor bright.
    """
    if present.all():
        return x
    x = x * torch.from_numpy(present[:, :, None, None]).to(x)
    if modality != "s2":
        return x
    for pattern in np.unique(present, axis=0):
        if pattern.all() or not pattern.any():
            continue
        dates = torch.from_numpy(np.flatnonzero((present == pattern).all(1))).to(x.device)
        weight, bias = _prediction(tuple(pattern.tolist()))
        known, missing = (torch.from_numpy(np.flatnonzero(p)).to(x.device) for p in (pattern, ~pattern))
        told = torch.einsum("mk,tkhw->tmhw", weight.to(x), x[dates][:, known]) + bias.to(x)[:, None, None]
        x[dates[:, None], missing] = told
    return x


@lru_cache
def _prediction(present: tuple[bool, ...]) -> tuple[Tensor, Tensor]:
    """Weights (missing, known) and biases (missing,) of the missing bands' mean, the others being known."""
    known, missing = np.flatnonzero(present), np.flatnonzero(~np.array(present))
    among = _COVARIANCE[np.ix_(known, known)] + _OWN * np.eye(len(known))
    weight = np.linalg.solve(among, _COVARIANCE[np.ix_(known, missing)]).T
    return torch.from_numpy(weight), torch.from_numpy(_MEAN[missing] - weight @ _MEAN[known])
