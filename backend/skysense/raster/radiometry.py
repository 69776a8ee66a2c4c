"""From stored numbers to `Sensor.units`: what a file's pixels mean, and which of them mean nothing.

Each layer (one file of one acquisition) gets one `Radiometry`, found once from its tags and, where these say
nothing, from a fixed sample of its pixels; so it is the same for every window.

- S2: reflectance x 10,000. The -1000 of processing baseline 04.00 and later comes from the scene (`offset`),
  which describes products by their metadata; where the scene is silent, from the product (`Product.offset_left`).
- S1: dB. Sums and interpolation are made in linear power (`mixing` values), then turned to dB.
- HR: 0..1. uint8 is divided by 255; other types are stretched from the 1st to the 99th percentile of each
  band.

Shape legend: C bands of one file; h x w pixels.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from skysense.errors import InputError
from skysense.raster.grid import Window
from skysense.raster.handles import read_window
from skysense.scene.acquisition import Acquisition
from skysense.scene.header import FILL
from skysense.scene.products import product_of
from skysense.scene.sensors import Modality

#: States of a pixel (0 = usable). EMPTY: the file's own "nothing here" in every band; the pixel is invalid if
#: all files of the acquisition say so. BAD: invalid whatever the other files say.
EMPTY, BAD = 1, 2

#: Below these (dB) there is no ground: the dark seam that Sentinel-1 GRD images have along their borders.
_S1_FLOOR = {"VV": -35.0, "VH": -45.0}
#: Nothing on the ground scatters so much (dB).
_S1_CEILING = 60.0
#: Larger numbers are fill values that nobody declared.
_ABSURD = 1e20
#: Declared nodata may have lost digits on its way through a file's tags.
_NODATA_ROUNDING = 1e-5

_SAMPLES = 16  # sample windows per axis
_SAMPLE_SIDE = 64  # pixels of a sample window's side
_STRETCH = (1.0, 99.0)


@dataclass(frozen=True)
class Radiometry:
    """How one file of an acquisition is read; tuples have one entry per band.

    Attributes:
        modality: of the acquisition.
        gain, bias: value = stored * gain + bias, in `Sensor.units` (S1 linear: power).
        nodata: stored value of empty pixels, None where there is none.
        linear: S1 power instead of dB.
        floors: S1 values below are border noise (dB); -inf elsewhere.
    """

    modality: Modality
    gain: tuple[float, ...]
    bias: tuple[float, ...]
    nodata: tuple[float | None, ...]
    linear: bool = False
    floors: tuple[float, ...] = ()

    def decode(
        self, stored: NDArray[Any], outside: NDArray[np.bool_] | None, mixing: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Stored numbers (C, h, w) -> values (C, h, w), 0 where unusable, and states (h, w).

        Args:
            outside: (h, w), where the file's alpha or mask says that there is no image.
            mixing: values are going to be interpolated: S1 as power instead of dB.
        """
        state = self._state(stored, outside)
        gain, bias = (np.array(item, np.float32)[:, None, None] for item in (self.gain, self.bias))
        with np.errstate(invalid="ignore", over="ignore"):
            values = np.multiply(stored, gain, dtype=np.float32, casting="unsafe")
            if any(self.bias):
                values += bias
        if self.modality == "hr" and stored.dtype != np.uint8:
            np.clip(values, 0.0, 1.0, out=values)
        if self.modality == "s2" and state is not None and stored.dtype.kind != "u":
            state[(values <= FILL).all(axis=0) & (state == 0)] = EMPTY
        if self.modality == "s1":
            values = self._backscatter(values, state, mixing)
        if state is None:
            return values, np.zeros(stored.shape[1:], np.uint8)
        if state.any():
            values = np.where(state == 0, values, np.float32(0))
        return values, state

    def finish(self, values: NDArray[np.float32], state: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Mixing values -> `Sensor.units`; 0 where the state is not 0."""
        if self.modality != "s1":
            return values
        return np.where(state == 0, _decibel(values), np.float32(0))

    def _state(self, stored: NDArray[Any], outside: NDArray[np.bool_] | None) -> NDArray[np.uint8] | None:
        """None where nothing can be unusable."""
        is_float = stored.dtype.kind == "f"
        declared = any(value is not None for value in self.nodata)
        if not is_float and not declared and outside is None and self.modality == "hr":
            return None
        state = np.zeros(stored.shape[1:], np.uint8)
        if declared:
            hits = [
                _equals(band, value)
                for band, value in zip(stored, self.nodata, strict=True)
                if value is not None
            ]
            # 0 (and any value in a picture) may be a dark band of a good pixel: only all bands together
            # count.
            if self.modality == "hr" or all(value in (None, 0.0) for value in self.nodata):
                state[np.logical_and.reduce(hits)] = EMPTY
            else:
                state[np.logical_or.reduce(hits)] = BAD
        if self.modality != "hr":
            state[(stored == 0).all(axis=0)] = EMPTY
        if is_float:
            with np.errstate(invalid="ignore"):
                state[~(np.abs(stored) < _ABSURD).all(axis=0)] = BAD
        if outside is not None:
            state[outside] = BAD
        return state

    def _backscatter(
        self, values: NDArray[np.float32], state: NDArray[np.uint8] | None, mixing: bool
    ) -> NDArray[np.float32]:
        assert state is not None
        floors = np.array(self.floors, np.float32)[:, None, None]
        if self.linear:
            with np.errstate(invalid="ignore"):
                known = (values > 10 ** (floors / 10)) & (values < 10 ** (_S1_CEILING / 10))
                state[~known.all(axis=0)] = BAD
            return values if mixing else _decibel(np.where(state == 0, values, np.float32(1)))
        with np.errstate(invalid="ignore"):
            state[~((values > floors) & (values < _S1_CEILING)).all(axis=0)] = BAD
        usable = np.where(state == 0, values, np.float32(0))
        return np.power(np.float32(10), usable / np.float32(10)) if mixing else usable


def find_radiometry(
    item: Acquisition, names: list[str], dataset: DatasetReader, path: Path, alpha: int | None = None
) -> Radiometry:
    """Find out how a file is to be read.

    Args:
        item: the acquisition.
        names, path: the bands wanted from this file (of `item.bands`).
        dataset: the file, open at full size.
        alpha: number of its alpha band.

    Raises:
        InputError: complex numbers, or S1 that is not calibrated backscatter.
    """
    numbers = [item.bands[name].index for name in names]
    if "complex" in dataset.dtypes[numbers[0] - 1]:
        raise InputError("holds complex numbers", str(path), "Convert it to calibrated backscatter first")
    nodata = tuple(_nodata(item, dataset, number) for number in numbers)
    if item.modality == "hr":
        gain, bias = _stretch(dataset, path, numbers, nodata, alpha)
        return Radiometry("hr", gain, bias, nodata)
    scale, offset = item.scale, item.offset
    if scale is None and offset is None:
        tags = dataset.scales[numbers[0] - 1], dataset.offsets[numbers[0] - 1]
        scale, offset = tags if tags != (1.0, 0.0) else (None, None)
    count = len(names)
    if item.modality == "s1":
        if item.units == "dn":
            raise InputError(
                "holds raw digital numbers",
                str(path),
                "Calibrate it to sigma0 or gamma0, for example with SNAP",
            )
        linear = item.units == "linear" or (
            item.units is None and _looks_linear(dataset, path, numbers, nodata)
        )
        floors = tuple(_S1_FLOOR.get(name, -math.inf) for name in names)
        return Radiometry("s1", (scale or 1.0,) * count, (offset or 0.0,) * count, nodata, linear, floors)
    if scale is None and offset is None:
        units = item.units or _s2_units(dataset, path, numbers, nodata)
        gain_one = 10_000.0 if units == "reflectance" else 1.0
        bias_one = _product_offset(item, dataset, path, numbers, nodata) if units == "dn" else 0.0
    else:
        gain_one, bias_one = _s2_terms(scale, offset or 0.0, item.units == "reflectance")
    return Radiometry("s2", (gain_one,) * count, (bias_one,) * count, nodata)


def sample_pixels(dataset: DatasetReader, path: Path, numbers: list[int]) -> NDArray[Any]:
    """A fixed sample of a file's pixels, (C, N): all of a small file, else windows spread evenly over it."""
    side = _SAMPLES * _SAMPLE_SIDE
    if dataset.width * dataset.height <= side * side:
        whole = read_window(dataset, path, numbers, Window(0, 0, dataset.height, dataset.width))
        return whole.reshape(len(numbers), -1)
    parts = []
    height, width = min(_SAMPLE_SIDE, dataset.height), min(_SAMPLE_SIDE, dataset.width)
    for row in np.linspace(0, dataset.height - height, _SAMPLES).astype(int):
        for col in np.linspace(0, dataset.width - width, _SAMPLES).astype(int):
            part = read_window(dataset, path, numbers, Window(int(row), int(col), height, width))
            parts.append(part.reshape(len(numbers), -1))
    return np.concatenate(parts, axis=1)


def _decibel(power: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        return np.float32(10) * np.log10(power)


def _nodata(item: Acquisition, dataset: DatasetReader, number: int) -> float | None:
    value = item.nodata if item.nodata is not None else dataset.nodatavals[number - 1]
    # NaN pixels are unusable anyway.
    return None if value is None or math.isnan(value) else float(value)


def _equals(band: NDArray[Any], value: float) -> NDArray[np.bool_]:
    if band.dtype.kind != "f" or value == 0:
        return np.asarray(band == value)
    return np.isclose(np.asarray(band, np.float64), value, rtol=_NODATA_ROUNDING, atol=0.0)


def _usable(sample: NDArray[Any], nodata: tuple[float | None, ...]) -> list[NDArray[np.float64]]:
    """The sample's usable numbers, band by band."""
    found = []
    for band, value in zip(sample, nodata, strict=True):
        keep = np.ones(band.shape, bool) if value is None else ~_equals(band, value)
        numbers = np.asarray(band, np.float64)
        found.append(numbers[keep & (np.abs(numbers) < _ABSURD)])
    return found


def _stretch(
    dataset: DatasetReader,
    path: Path,
    numbers: list[int],
    nodata: tuple[float | None, ...],
    alpha: int | None,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gain and bias of HR bands."""
    if all(dataset.dtypes[number - 1] == "uint8" for number in numbers):
        return (1 / 255,) * len(numbers), (0.0,) * len(numbers)
    gains, biases = [], []
    sample = sample_pixels(dataset, path, numbers if alpha is None else [*numbers, alpha])
    if alpha is not None:
        sample = sample[:-1, sample[-1] != 0]
    for band in _usable(sample, nodata):
        low, high = np.percentile(band, _STRETCH) if band.size else (0.0, 1.0)
        span = high - low if high > low else 1.0
        gains.append(float(1 / span))
        biases.append(float(-low / span))
    return tuple(gains), tuple(biases)


def _looks_linear(
    dataset: DatasetReader, path: Path, numbers: list[int], nodata: tuple[float | None, ...]
) -> bool:
    """Backscatter power is never negative; dB mostly is."""
    bands = _usable(sample_pixels(dataset, path, numbers), nodata)
    return not any((band < 0).any() for band in bands)


def _s2_units(
    dataset: DatasetReader, path: Path, numbers: list[int], nodata: tuple[float | None, ...]
) -> str:
    """Whole numbers are digital numbers; fractions of about 1 are reflectance."""
    if np.dtype(dataset.dtypes[numbers[0] - 1]).kind != "f":
        return "dn"
    bands = [band for band in _usable(sample_pixels(dataset, path, numbers), nodata) if band.size]
    return "reflectance" if bands and max(np.percentile(band, 99) for band in bands) < 10 else "dn"


def _product_offset(
    item: Acquisition,
    dataset: DatasetReader,
    path: Path,
    numbers: list[int],
    nodata: tuple[float | None, ...],
) -> float:
    """What must be added to digital numbers: -1000 as long as the +1000 of baseline 04.00 is in them."""
    found = product_of(path)
    product = found if found.dn_offset is not None else product_of(item.path)
    if product.dn_offset is None:
        return 0.0
    bands = _usable(sample_pixels(dataset, path, numbers), nodata)
    seen = [band[(band != 0) & (band > FILL)] for band in bands]
    # One dark band is enough: with the 1000 in them, hardly any number of any band is so low.
    dark = max((float((band < 900).mean()) for band in seen if band.size), default=0.0)
    return product.offset_left(dark) or 0.0


def _s2_terms(scale: float | None, offset: float, reflectance: bool) -> tuple[float, float]:
    """Gain and bias to reflectance x 10,000 from physical = stored * scale + offset.

    The physical value is reflectance 0..1; a scale of about 1 without the units "reflectance" belongs to
    numbers that are x 10,000 already. An offset of 10 or more is one of digital numbers, as ESA has it (-1000).
    """
    gain = 1.0 if scale is None else scale
    factor = 10_000.0 if reflectance or gain <= 0.01 else 1.0
    if abs(offset) >= 10:
        return gain * factor, offset * gain * factor
    return gain * factor, offset * 10_000.0
