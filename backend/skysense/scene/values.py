"""What a small sample of the values tells: units, offsets, and cautions."""

import math
from dataclasses import dataclass, field, replace

from skysense.errors import InputError
from skysense.scene.acquisition import Acquisition, Units
from skysense.scene.header import FILL, BandSample, RasterHeader, read_sample
from skysense.scene.products import Product
from skysense.scene.sensors import Modality

#: Median reflectance of a visible band (blue first) above which an image is mostly cloud or snow.
_BRIGHT = 0.25
#: Bands in which cloud stands out, best first.
_VISIBLE = ("B2", "B3", "B4", "B5", "B1")
#: No band's median is so low in decibel; whole numbers that are hold decibel x 100, as a rule.
_LOWEST_DB = -50.0


@dataclass(frozen=True)
class Values:
    """Units, scale and offset as in `Acquisition`, what the user should know, and whether no pixel is valid."""

    units: Units | None
    scale: float | None = None
    offset: float | None = None
    cautions: list[str] = field(default_factory=list)
    empty: bool = False


def examine_values(
    header: RasterHeader,
    modality: Modality,
    bands: dict[str, int],
    product: Product,
    stated: Acquisition | None,
    per_band_files: bool,
) -> Values:
    """Sample the image and find out what its numbers are.

    Args:
        bands: band name -> number in this file.
        stated: the row of the scene, whose units, scale, offset and nodata are taken as given.
        per_band_files: the header is that of one band of a product folder.

    Raises:
        InputError: the numbers cannot be used (raw radar, damaged pixels).
    """
    nodata = stated.nodata if stated is not None and stated.nodata is not None else header.nodata
    chosen = _to_sample(modality, bands, header, per_band_files)
    scale, offset, cautions = _tagged_scale(header, bands, per_band_files)
    if stated is not None and (stated.scale is not None or stated.offset is not None):
        scale, offset, cautions = stated.scale, stated.offset, []
    fill = _fill(modality, scale)
    samples = read_sample(header, tuple(chosen), nodata, fill)
    units: Units | None = stated.units if stated is not None else None
    if all(sample.empty for sample in samples):
        every = tuple(sorted({number for number in bands.values() if number <= header.count}))
        others = read_sample(header, every, nodata, fill)
        empty = not per_band_files and all(sample.whole and sample.empty for sample in others)
        if samples[0].whole and all(sample.empty for sample in others):
            cautions.append("it has no valid pixel, remove it or use another date")
        units = units or ("dn" if modality != "s1" else None)
        whole_numbers = units == "dn" and not header.dtype.startswith("float")
        if whole_numbers and scale is None and offset is None and product.offset_stated:
            scale, offset = 1e-4, (product.dn_offset or 0.0) * 1e-4
        return Values(units, scale, offset, cautions, empty)
    if modality == "hr":
        return Values(units or "dn", scale, offset, cautions)
    if modality == "s1":
        return _radar(header, samples, stated, Values(units, scale, offset, cautions))
    visible = per_band_files or any(name in bands for name in _VISIBLE)
    return _reflectance(header, product, samples[0], visible, stated, Values(units, scale, offset, cautions))


def _fill(modality: Modality, scale: float | None) -> float | None:
    """The `fill` of `read_sample`: in pictures 0 may be black, and finely packed numbers may be as low as any."""
    if modality == "hr":
        return None
    return FILL if scale is None or scale >= 1e-4 else -math.inf


def _to_sample(
    modality: Modality, bands: dict[str, int], header: RasterHeader, per_band_files: bool
) -> list[int]:
    if per_band_files:
        return [1]
    if modality == "s2":
        return [next((bands[name] for name in _VISIBLE if name in bands), next(iter(bands.values())))]
    return sorted({number for number in bands.values() if number <= header.count}) or [1]


def _tagged_scale(
    header: RasterHeader, bands: dict[str, int], per_band_files: bool
) -> tuple[float | None, float | None, list[str]]:
    numbers = [1] if per_band_files else [number for number in bands.values() if number <= header.count]
    pairs = {(header.scales[number - 1], header.offsets[number - 1]) for number in numbers}
    if pairs == {(1.0, 0.0)} or not pairs:
        return None, None, []
    scale, offset = header.scales[numbers[0] - 1], header.offsets[numbers[0] - 1]
    if len(pairs) > 1:
        return scale, offset, ["its bands have different scales, of which the first is used, check it"]
    return scale, offset, []


def _radar(
    header: RasterHeader,
    samples: tuple[BandSample, ...],
    stated: Acquisition | None,
    values: Values,
) -> Values:
    units, scale, offset, cautions = values.units, values.scale, values.offset, values.cautions
    valid = [sample for sample in samples if not sample.empty]
    whole_numbers = units is None and scale is None and not header.dtype.startswith("float")
    if units == "dn" or (whole_numbers and not any(sample.low < 0 for sample in valid)):
        raise InputError(
            f"holds uncalibrated {header.dtype} numbers, not backscatter",
            fix="Calibrate it to sigma0 or gamma0, for example with SNAP",
        )
    median = sum(sample.median for sample in valid) / len(valid)
    if _is_scaled_decibel(header, values, median):
        return _hundredths(median, stated, values)
    if units is not None:
        return Values(units, scale, offset, cautions)
    low, high = min(sample.low for sample in valid), max(sample.high for sample in valid)
    if median < -1:
        return Values("db", scale, offset, cautions)
    if high <= 1.0 and low >= 0 and median > 0.3:
        cautions.append(
            f"its values ({low:.2g} to {high:.2g}) are neither decibel nor power, use the original product"
        )
        return Values(None, scale, offset, cautions)
    if low < -1:
        cautions.append(f"its values run from {low:.3g} to {high:.3g}, taken as decibel, check it")
        return Values("db", scale, offset, cautions)
    return Values("linear", scale, offset, cautions)


def _is_scaled_decibel(header: RasterHeader, values: Values, median: float) -> bool:
    undeclared = values.scale is None and values.units in (None, "db")
    return undeclared and median < _LOWEST_DB and not header.dtype.startswith("float")


def _hundredths(median: float, stated: Acquisition | None, values: Values) -> Values:
    """Whole numbers far below any decibel: x 100 if that gives decibel, and if the scene does not say otherwise.

    Raises:
        InputError: with these numbers no pixel would be valid.
    """
    if stated is not None or median * 0.01 < _LOWEST_DB:
        raise InputError(
            f"holds numbers of about {median:.4g}, which are no decibel without a scale",
            fix="Set its scale, 0.01 if they are decibel x 100",
        )
    caution = f"its values (about {median:.4g}) are taken as decibel x 100 (scale 0.01), check it"
    return replace(values, units="db", scale=0.01, offset=0.0, cautions=[*values.cautions, caution])


def _reflectance(
    header: RasterHeader,
    product: Product,
    sample: BandSample,
    visible: bool,
    stated: Acquisition | None,
    values: Values,
) -> Values:
    units, scale, offset, cautions = values.units, values.scale, values.offset, values.cautions
    if units is None:
        units = (
            "reflectance" if scale is None and header.dtype.startswith("float") and sample.high < 10 else "dn"
        )
    if header.dtype == "uint8":
        cautions.append("its 8-bit values are not reflectance, use the original product")
        return Values(units, scale, offset, cautions)
    left = product.offset_left(sample.dark)
    if scale is None and offset is None and left is not None and units == "dn":
        # The statement is explicit either way, so that nobody subtracts twice.
        scale, offset = 1e-4, left * 1e-4
        if offset:
            cautions += _offset_caution(header, product, stated)
    gain = scale if scale is not None else (1.0 if units == "reflectance" else 1e-4)
    if (
        visible
        and (gain <= 0.01 or units == "reflectance")
        and sample.median * gain + (offset or 0.0) > _BRIGHT
    ):
        cautions.append("it is mostly very bright (cloud or snow), check whether the date is of use")
    return Values(units, scale, offset, cautions)


def _offset_caution(header: RasterHeader, product: Product, stated: Acquisition | None) -> list[str]:
    """In a product as delivered the offset is certain; in a file that only bears its name it is likely."""
    as_delivered = any(part.upper().endswith(".SAFE") for part in header.path.parts)
    if as_delivered or product.offset_stated or stated is not None:
        return []
    return ["processing baseline 04.00 or later, so 1000 is taken off its values (offset -0.1), check that"]
