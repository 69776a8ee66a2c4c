"""Which sensor an image comes from and which of its bands is which."""

from dataclasses import dataclass

from skysense.errors import InputError
from skysense.scene.bands import S2_ORDERS, colour, polarisation, recognise, repeated, s2_code
from skysense.scene.header import FILL, RasterHeader, read_sample
from skysense.scene.products import Product, sen2r_bands
from skysense.scene.sensors import EXTRA_BANDS, SENSORS, Modality

#: A stack with more bands than this holds several dates.
_MOST_BANDS = 40
#: Images with finer pixels (metres) are not Sentinel-2, whatever their bands are called.
_FINEST_S2 = 5.0


@dataclass(frozen=True)
class Recognition:
    """Band name -> number (from 1); `caution` says what was assumed; `alpha` is an alpha band found."""

    bands: dict[str, int]
    caution: str = ""
    alpha: int | None = None


def check_single(header: RasterHeader) -> None:
    """Refuse a file that stacks several dates or sensors: its bands would be of an unknown day.

    Raises:
        InputError: very many bands, repeated band names, or names of two sensors.
    """
    named = [name for name in header.names if name]
    radar = any(polarisation(name) for name in named)
    codes = any(s2_code(name) for name in named)
    if header.count > _MOST_BANDS or (repeated(named) and (radar or codes)) or (radar and codes):
        raise InputError(
            f"stacks {header.count} bands of several dates or sensors in one file",
            fix="Split it into one file per sensor and date",
        )


def decide_modality(header: RasterHeader, product: Product, sides_m: tuple[float, float]) -> Modality:
    """The sensor, by band names, then product names, then pixel size, number of bands and type of the values.

    Args:
        sides_m: ground size of a pixel along columns and rows.

    Raises:
        InputError: nothing tells the sensor.
    """
    named = [name for name in header.names if name]
    size = max(sides_m)
    fine = size <= SENSORS["hr"].gsd_m[1]
    if any(polarisation(name) for name in named):
        return "s1"
    if any(s2_code(name) for name in named):
        return "hr" if size < _FINEST_S2 else "s2"
    coloured = any(colour(name) for name in named) or {"red", "green", "blue"} <= set(header.colours)
    if product.modality == "s2" and not (header.dtype == "uint8" and coloured):
        return "s2"
    if product.modality == "s1":
        return "s1"
    if fine and header.count >= 3:
        return "hr"
    if not fine and size <= SENSORS["s2"].gsd_m[1]:
        if header.dtype == "uint8" and coloured:
            raise InputError(
                f"is an 8-bit colour picture with pixels of {size:.3g} m, "
                "too coarse for high resolution and not Sentinel-2 reflectance",
                fix="Use the product that it was made from",
            )
        if header.count in (10, 11, 12, 13) or coloured:
            return "s2"
        if header.count <= 2 and header.dtype.startswith("float") and _negative(header):
            return "s1"
    count = "1 band" if header.count == 1 else f"{header.count} bands"
    if size > SENSORS["s2"].gsd_m[1]:
        raise InputError(
            f"has pixels of {_length(size)}, too coarse for high resolution (up to 8 m) and both Sentinels",
            fix="Use finer imagery",
        )
    raise InputError(
        f"its sensor cannot be told from {count} with pixels of {_length(size)}",
        fix="Choose the sensor and assign the bands, or remove it",
    )


def assign_bands(header: RasterHeader, modality: Modality, file_name: str) -> Recognition:
    """Which band is which: by names, else by colour interpretation or file name, else by the usual order.

    Returns:
        No bands where neither tells.
    """
    bands = recognise(header.names, modality)
    if modality == "hr":
        return Recognition(bands) if {"R", "G", "B"} & bands.keys() else _picture_bands(header)
    if bands:
        return Recognition(bands)
    if modality == "s1":
        return _radar_bands(header, file_name)
    if header.count == 1:
        code = s2_code(file_name.rsplit(".", 1)[0])
        return Recognition({code: 1} if code in SENSORS["s2"].bands + EXTRA_BANDS["s2"] else {})
    known = sen2r_bands(file_name)
    if known is not None and len(known) == header.count:
        return Recognition(_numbered(known))
    order = S2_ORDERS.get(header.count)
    if order is None or header.dtype == "uint8":
        return Recognition({})
    return Recognition(
        _numbered(order),
        f"its {header.count} bands have no names, the usual {order[0]} to {order[-1]} are assumed, check them",
    )


def no_bands(header: RasterHeader, modality: Modality) -> InputError:
    """What an image is whose bands cannot be told."""
    sensor = SENSORS[modality]
    wanted = ", ".join(sensor.bands)
    if modality == "s2" and header.dtype == "uint8":
        return InputError(
            f"has {header.count} bands of 8-bit values without names, which are not reflectance",
            fix="Use the original product, or assign its bands",
        )
    named = [name for name in header.names if name]
    if named:
        return InputError(
            f"none of its bands ({', '.join(named[:6])}) is a {sensor.title} band ({wanted})",
            fix="Assign its bands",
        )
    count = "1 band" if header.count == 1 else f"{header.count} bands"
    return InputError(
        f"has {count} without names, and their order is not known",
        fix=f"Assign its bands: which are {wanted}",
    )


def _radar_bands(header: RasterHeader, file_name: str) -> Recognition:
    if header.count == 1:
        name = polarisation(file_name.rsplit(".", 1)[0])
        return Recognition({name: 1} if name in SENSORS["s1"].bands else {})
    if header.count == 2:
        return Recognition({"VV": 1, "VH": 2}, "its 2 bands have no names, VV and VH are assumed, check it")
    return Recognition({})


def _picture_bands(header: RasterHeader) -> Recognition:
    """Unnamed pictures: by colour interpretation; 8-bit ones without it in the order that pictures have."""
    letters = {"red": "R", "green": "G", "blue": "B", "nir": "NIR"}
    bands = {letters[kind]: number for number, kind in enumerate(header.colours, start=1) if kind in letters}
    if bands.keys() >= {"R", "G", "B"}:
        rest = [number for number, kind in enumerate(header.colours, start=1) if kind == "undefined"]
        if header.count != 4 or not rest or "NIR" in bands:
            return Recognition(bands)
        return _fourth(header, bands, rest[0])
    if header.dtype != "uint8" or header.count not in (3, 4):
        return Recognition({})
    bands = {"R": 1, "G": 2, "B": 3}
    if header.count == 3:
        return Recognition(bands, "its 3 bands have no names, red, green, blue are assumed, check it")
    return _fourth(header, bands, 4)


def _fourth(header: RasterHeader, bands: dict[str, int], number: int) -> Recognition:
    """A fourth band without a name: alpha if it is either nothing or full everywhere, else near infrared."""
    if read_sample(header, (number,), None)[0].extremes_only:
        return Recognition(
            bands, "its fourth band looks like a mask and is taken as alpha, check it", alpha=number
        )
    return Recognition(
        {**bands, "NIR": number}, "its fourth band has no name and is taken as near infrared, check it"
    )


def _negative(header: RasterHeader) -> bool:
    return read_sample(header, (1,), header.nodata, FILL)[0].median < -1


def _numbered(names: tuple[str, ...]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names, start=1)}


def _length(size: float) -> str:
    return f"{size:.3g} m" if size < 1000 else f"{size / 1000:.3g} km"
