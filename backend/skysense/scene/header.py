"""What a raster file says of itself, and a small sample of its values. Never reads a whole file.

rasterio is imported inside the functions: the rest of the room works, and imports fast, without it.
"""

import functools
import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skysense.errors import InputError
from skysense.scene.remote import is_remote, open_dataset, stamp

#: Decoded bytes that one sample may take.
_SAMPLE_BYTES = 4_000_000
#: A block larger than this (a file of one strip) is not probed for damage.
_PROBE_BYTES = 64_000_000

#: A pixel whose Sentinel numbers are all so low was never seen: -9999 and -10000 are fill values that many tools write and
#: do not declare.
FILL = -9999.0
#: Rotation that shifts no pixel of the image by more than this share of a pixel is rounding.
_ROTATION = 0.01

Bounds = tuple[float, float, float, float]
Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, eq=False)
class RasterHeader:
    """The header of a raster file; one and the same as long as the file does not change.

    Attributes:
        dtype: numpy name of the bands' type (the widest if they differ).
        crs: WKT, None where there is none.
        epsg: EPSG code if the CRS has one.
        transform: (a, b, c, d, e, f): x = a*col + b*row + c, y = d*col + e*row + f.
        names: band descriptions, colours: colour interpretations ("red", "alpha", "palette", ...).
        scales, offsets: physical value = stored * scale + offset.
        tags: the file's metadata tags.
        gcps, rpcs: georeferenced by ground control points, by rational polynomials.
        layers: number of sub-datasets (NetCDF, HDF).
    """

    path: Path
    driver: str
    width: int
    height: int
    count: int
    dtype: str
    crs: str | None
    epsg: int | None
    transform: Transform
    names: tuple[str | None, ...]
    colours: tuple[str, ...]
    nodata: float | None
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    tags: dict[str, str]
    gcps: bool
    rpcs: bool
    layers: int

    @property
    def georeferenced(self) -> bool:
        """Whether pixels have map coordinates (an identity transform means that they have none)."""
        return self.transform != (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    @property
    def earth(self) -> bool:
        """Whether the CRS is one of the Earth, by the size of its ellipsoid."""
        axis = re.search(r'(?:SPHEROID|ELLIPSOID)\["[^"]*",\s*([0-9.]+)', self.crs or "")
        return axis is None or 6.3e6 < float(axis[1]) < 6.4e6


@dataclass(frozen=True)
class BandSample:
    """Valid values of one band in a sample; the numbers are NaN where none is valid.

    Attributes:
        low, median, high: smallest, middle and largest value.
        dark: share of values below 900 (Sentinel-2 numbers that carry an offset of 1000 have hardly any).
        extremes_only: every pixel is 0 or the type's largest value, as in an alpha band.
        whole: the sample is the whole band.
    """

    low: float
    median: float
    high: float
    dark: float
    extremes_only: bool
    whole: bool

    @property
    def empty(self) -> bool:
        """Whether no pixel of the sample is valid."""
        return math.isnan(self.median)


def read_header(path: Path) -> RasterHeader:
    """Read a raster's header.

    Raises:
        InputError: the file cannot be opened as a raster.
    """
    try:
        changed, size = stamp(path)
    except OSError:
        raise no_such_file(path) from None
    return _read_header(path, changed, size)


def no_such_file(path: Path) -> InputError:
    """A file that is gone, or cannot be reached."""
    if is_remote(path):
        return InputError("cannot be reached", path.name, "Check the address and the connection")
    return InputError("there is no such file", path.name, "Check the path")


def band_count(path: Path) -> int | None:
    """The number of bands of a raster file; None for a folder and for a file that cannot be opened."""
    if path.is_dir():
        return None
    try:
        return read_header(path).count
    except InputError:
        return None


@functools.lru_cache(maxsize=4096)  # a scene is described when it is opened, and again with what it states
def read_sample(
    header: RasterHeader, bands: tuple[int, ...], nodata: float | None, fill: float | None = None
) -> tuple[BandSample, ...]:
    """Sample bands around the middle of the image (or its smallest overview, if the middle is empty).

    Files compressed in one huge block are not sampled: every sample is then empty, and not the whole.

    Args:
        bands: band numbers from 1.
        nodata: stored value of empty pixels, besides NaN; matched within float32 rounding.
        fill: pixels that are 0 in all these bands, or at most this in all of them, are empty too, whatever the
            file declares; None: they are values like any other.

    Raises:
        InputError: the pixels cannot be read.
    """
    rasterio = _rasterio()
    try:
        with open_dataset(header.path) as source:
            if source.compression is not None and _block_bytes(source) > _PROBE_BYTES:
                return tuple(BandSample(math.nan, math.nan, math.nan, 0.0, False, False) for _ in bands)
            window = _middle(source, len(bands))
            values = source.read(list(bands), window=window)
            whole = (window.height, window.width) == (source.height, source.width)
            samples = _samples(values, nodata, fill, whole)
            if all(sample.empty for sample in samples) and not whole and source.overviews(bands[0]):
                factor = source.overviews(bands[0])[-1]
                shape = (len(bands), math.ceil(source.height / factor), math.ceil(source.width / factor))
                if math.prod(shape) * values.itemsize <= _SAMPLE_BYTES:
                    coarse = source.read(list(bands), out_shape=shape)
                    samples = _samples(coarse, nodata, fill, False)
            return tuple(samples)
    except (rasterio.errors.RasterioError, rasterio._err.CPLE_BaseError):
        raise _damaged(header.path) from None


@functools.lru_cache(maxsize=4096)
def probe(header: RasterHeader) -> None:
    """Read the middle and the last block, where truncated and damaged files give themselves away.

    Raises:
        InputError: a block cannot be read.
    """
    rasterio = _rasterio()
    try:
        with open_dataset(header.path) as source:
            if _block_bytes(source) > _PROBE_BYTES:
                return
            height, width = source.block_shapes[-1]
            last = ((source.height - 1) // height, (source.width - 1) // width)
            for row, column in {(last[0] // 2, last[1] // 2), last}:
                source.read(source.count, window=source.block_window(source.count, row, column))
    except (rasterio.errors.RasterioError, rasterio._err.CPLE_BaseError):
        raise _damaged(header.path) from None


def wgs84_bounds(header: RasterHeader) -> Bounds | None:
    """(west, south, east, north) in degrees; west > east across the 180 degree meridian; or None."""
    if header.crs is None or not header.georeferenced or not header.earth:
        return None
    a, b, c, d, e, f = header.transform
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (0, header.width) for y in (0, header.height)]
    xs, ys = zip(*corners, strict=True)
    return to_wgs84(header.crs, (min(xs), min(ys), max(xs), max(ys)))


def to_wgs84(crs: str, bounds: Bounds) -> Bounds | None:
    """Bounds of any CRS in degrees, edges densified; None where they have no place on the Earth."""
    rasterio = _rasterio()
    try:
        west, south, east, north = rasterio.warp.transform_bounds(crs, "EPSG:4326", *bounds, densify_pts=21)
    except (rasterio.errors.RasterioError, rasterio._err.CPLE_BaseError):
        return None
    inside = max(abs(west), abs(east)) <= 360 and max(abs(south), abs(north)) <= 90.001
    if not (inside and all(map(math.isfinite, (west, south, east, north)))):
        return None
    return west, south, east, north


def without_rounding(transform: Transform, width: int, height: int) -> Transform:
    """A grid (see `RasterHeader.transform`) without rotation that is mere rounding (1e-17), as some tools leave it.

    Args:
        width, height: of the image, pixels.
    """
    a, b, c, d, e, f = transform
    if max(abs(b) * height, abs(d) * width) < _ROTATION * abs(a):
        return a, 0.0, c, 0.0, e, f
    return transform


def pixel_sides_m(header: RasterHeader) -> tuple[float, float] | None:
    """Ground size of a pixel in metres along columns and rows, at the image's centre. None if not known."""
    if header.crs is None or not header.georeferenced:
        return None
    a, b, _, d, e, f = header.transform
    x_unit, y_unit = math.hypot(a, d), math.hypot(b, e)
    rasterio = _rasterio()
    crs = _parse_crs(header.crs)
    if crs is None:
        return None
    if crs.is_geographic:
        latitude = math.radians(d * header.width / 2 + e * header.height / 2 + f)
        east, north = _degree_m(latitude)
        return x_unit * east, y_unit * north
    try:
        metres = float(crs.linear_units_factor[1])
    except rasterio.errors.CRSError:
        return None
    if header.epsg == 3857:  # Web Mercator's metres shrink with latitude
        metres /= math.cosh((d * header.width / 2 + e * header.height / 2 + f) / 6378137.0)
    return x_unit * metres, y_unit * metres


def _degree_m(latitude: float) -> tuple[float, float]:
    """Length in metres of a degree of longitude and of latitude on WGS84, at a latitude in radians."""
    axis, e2 = 6378137.0, 0.00669437999014
    bend = 1 - e2 * math.sin(latitude) ** 2
    degree = math.pi / 180
    return degree * axis * abs(math.cos(latitude)) / math.sqrt(bend), degree * axis * (1 - e2) / bend**1.5


@functools.lru_cache(maxsize=4096)
def _read_header(path: Path, changed: int | str, size: int) -> RasterHeader:
    rasterio = _rasterio()
    try:
        with open_dataset(path) as source:
            crs = source.crs.to_wkt() if source.crs else None
            return RasterHeader(
                path=path,
                driver=source.driver,
                width=source.width,
                height=source.height,
                count=source.count,
                dtype=max(source.dtypes, key=lambda name: (_itemsize(name), name), default=""),
                crs=crs,
                epsg=_epsg(crs) if crs else None,
                transform=without_rounding(tuple(source.transform)[:6], source.width, source.height),
                names=tuple(name.strip() or None if name else None for name in source.descriptions),
                colours=tuple(colour.name for colour in source.colorinterp),
                nodata=math.nan if source.nodata is not None and math.isnan(source.nodata) else source.nodata,
                scales=tuple(source.scales),
                offsets=tuple(source.offsets),
                tags={**source.tags(), **source.tags(ns="IMAGERY")},
                gcps=bool(source.gcps[0]),
                rpcs=source.rpcs is not None,
                layers=len(source.subdatasets),
            )
    except (rasterio.errors.RasterioError, rasterio._err.CPLE_BaseError, UnicodeDecodeError):
        raise _not_a_raster(path) from None


def _not_a_raster(path: Path) -> InputError:
    if is_remote(path):
        return InputError(
            "cannot be read as an image, or its server does not answer",
            path.name,
            "Check the address and the connection, or download it",
        )
    suffix = path.suffix.lower()
    if suffix in (".gpkg", ".shp", ".geojson", ".kml", ".fgb", ".gml"):
        return InputError("is a vector layer, not an image", path.name, "Use it as labels")
    if suffix == ".jp2":
        return InputError(
            "cannot be read: it is damaged, or JPEG 2000 is not supported here",
            path.name,
            "Convert it to GeoTIFF",
        )
    return InputError(
        "cannot be read as an image", path.name, "Check that the file is whole, or convert it to GeoTIFF"
    )


def _damaged(path: Path) -> InputError:
    return InputError("is damaged: some of its pixels cannot be read", path.name, "Download or copy it again")


def _itemsize(dtype: str) -> int:
    sizes = {"int8": 1, "uint8": 1, "complex64": 8, "complex128": 16}
    bits = re.search(r"[0-9]+$", dtype)
    return sizes.get(dtype, int(bits[0]) // 8 if bits else 4)


def _planes(source: Any) -> int:
    """How many bands a block holds."""
    pixel = source.interleaving is not None and source.interleaving.value == "PIXEL"
    return source.count if pixel else 1


def _block_bytes(source: Any) -> int:
    height, width = source.block_shapes[0]
    return int(height * width * _planes(source) * _itemsize(source.dtypes[0]))


def _middle(source: Any, bands: int) -> Any:
    """A window around the middle that decodes to little memory: all, some strips, or one block."""
    rasterio = _rasterio()
    planes = max(bands, _planes(source))
    budget = _SAMPLE_BYTES // (planes * _itemsize(source.dtypes[0]))
    if source.width * source.height <= budget:
        return rasterio.windows.Window(0, 0, source.width, source.height)
    height, width = source.block_shapes[0]
    if width >= source.width:  # strips
        height = max(1, min(256, source.height, budget // source.width))
        width = min(source.width, max(1, budget // height))
        return rasterio.windows.Window(
            (source.width - width) // 2, (source.height - height) // 2, width, height
        )
    row, column = (source.height - 1) // height // 2, (source.width - 1) // width // 2
    return source.block_window(1, row, column)


def _samples(values: Any, nodata: float | None, fill: float | None, whole: bool) -> list[BandSample]:
    """One sample per band of (C, h, w) stored values."""
    if fill is None:
        return [_sample(band, nodata, None, whole) for band in values]
    empty = (values == 0).all(axis=0) | (values <= fill).all(axis=0)
    return [_sample(band, nodata, ~empty, whole) for band in values]


def _sample(values: Any, nodata: float | None, seen: Any, whole: bool) -> BandSample:
    """The sample of one band; of its pixels `seen` counts (None: all)."""
    import numpy as np

    largest = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1.0
    extremes_only = bool(np.isin(values, (0, largest)).all())
    data = values.ravel() if seen is None else values[seen]
    data = data[np.isfinite(data)] if data.dtype.kind == "f" else data
    if nodata is not None and math.isfinite(nodata):
        data = data[~np.isclose(data, nodata, rtol=1e-6, atol=0)]
    if data.size == 0:
        return BandSample(math.nan, math.nan, math.nan, 0.0, extremes_only, whole)
    return BandSample(
        low=float(data.min()),
        median=float(np.median(data)),
        high=float(data.max()),
        dark=float((data < 900).mean()),
        extremes_only=extremes_only,
        whole=whole,
    )


@functools.lru_cache(maxsize=256)
def _epsg(crs: str) -> int | None:
    parsed = _parse_crs(crs)
    code = parsed.to_epsg() if parsed is not None else None
    return int(code) if code is not None else None


def _parse_crs(crs: str) -> Any:
    rasterio = _rasterio()
    try:
        return rasterio.crs.CRS.from_user_input(crs)
    except rasterio.errors.CRSError:
        return None


@functools.cache
def _rasterio() -> Any:
    import rasterio
    import rasterio._err  # some of GDAL's errors come out as they are
    import rasterio.crs
    import rasterio.errors
    import rasterio.warp
    import rasterio.windows

    # Missing georeferencing is told to the user in our own words.
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    return rasterio
