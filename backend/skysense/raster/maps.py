"""The finished map (contract C6): chunks merged into one cloud-optimised GeoTIFF, in constant memory.

The chunks are strung together by a VRT and copied once by GDAL's COG driver, so the bytes of the map do not
depend on the order in which chunks were written.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as Xml

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from skysense.errors import StorageError
from skysense.raster.grid import Grid, Window

Kind = Literal["class", "confidence", "share", "value"]

_OVERVIEWS: dict[Kind, str] = {
    "class": "MODE",
    "confidence": "NEAREST",
    "share": "AVERAGE",
    "value": "AVERAGE",
}
_NODATA: dict[Kind, str] = {"class": "0", "confidence": "0", "share": "255", "value": "nan"}
#: Blocks of the finished map.
_BLOCK = 512


@dataclass(frozen=True)
class MapClass:
    """A class of a map: id 1..255, name, colour "#rrggbb"."""

    id: int
    name: str
    color: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0..255."""
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)


def colormap(legend: Sequence[MapClass]) -> dict[int, tuple[int, int, int, int]]:
    """The colour table of a class map; 0 (not mapped) and ids without a class are transparent."""
    table = dict.fromkeys(range(256), (0, 0, 0, 0))
    table.update({item.id: (*item.rgb, 255) for item in legend})
    return table


def class_names(legend: Sequence[MapClass]) -> str:
    """The metadata item `SKYSENSE_CLASSES`: JSON, id -> name."""
    names = {str(item.id): item.name for item in sorted(legend, key=lambda item: item.id)}
    return json.dumps(names, ensure_ascii=False)


def merge_aside(
    parts: Sequence[tuple[Window, Path]],
    out: Path,
    grid: Grid,
    legend: Sequence[MapClass],
    metadata: dict[str, str],
    kind: Kind,
    bands: Sequence[str] = ("",),
) -> Path:
    """Merge chunk files into one COG beside the place where it belongs; `put` brings it there, so an old map stays until then.

    Args:
        parts: each chunk's window on `grid` and its file; what no chunk covers is 0 (of values: NaN), not mapped.
        out: the map; its folder must exist.
        grid: of the whole map.
        legend: the classes, for the colour table and the metadata item `SKYSENSE_CLASSES`; empty where there are none.
        metadata: items of the default domain beside that one.
        kind: a class map has a colour table and overviews by majority; a confidence map is grey; shares are uint8 with 255
            where there are none, values float32 with NaN there, both with overviews by mean.
        bands: their descriptions.

    Returns:
        Where it is.

    Raises:
        StorageError: it cannot be written; nothing half-written is left.
    """
    part = out.with_name(f"{out.stem}.part{out.suffix or '.tif'}")
    if legend:
        metadata = {**metadata, "SKYSENSE_CLASSES": class_names(legend)}
    ordered = sorted(parts, key=lambda item: (item[0].row, item[0].col))
    vrt = _vrt(ordered, grid, legend if kind == "class" else None, metadata, bands, kind)
    try:
        # Without PAM no .aux.xml appears beside the map.
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), MemoryFile(vrt.encode(), filename="map.vrt") as source:
            rasterio.shutil.copy(
                source.name, part, driver="COG", compress="DEFLATE", blocksize=_BLOCK,
                predictor="FLOATING_POINT" if kind == "value" else "NO", overview_resampling=_OVERVIEWS[kind],
                overview_compress="DEFLATE", bigtiff="IF_SAFER", num_threads=1,
            )  # fmt: skip
        check_whole(part)
    except (CPLE_BaseError, RasterioError, OSError) as error:  # copy lets GDAL's own errors through
        discard(part)
        raise storage_error(out, error) from None
    return part


def write_cog(source: Path, out: Path, predictor: str = "NO") -> None:
    """Copy a raster to a COG, its overviews by mean, aside and renamed: an old one stays until the new one is whole.

    Raises:
        StorageError: it cannot be written.
    """
    part = out.with_name(f"{out.stem}.part{out.suffix or '.tif'}")
    try:
        # Without PAM no .aux.xml appears beside the raster.
        with rasterio.Env(GDAL_PAM_ENABLED="NO"):
            rasterio.shutil.copy(
                source, part, driver="COG", compress="DEFLATE", blocksize=_BLOCK, predictor=predictor,
                overview_resampling="AVERAGE", overview_compress="DEFLATE", bigtiff="IF_SAFER", num_threads=1,
            )  # fmt: skip
        check_whole(part)
        put(part, out)
    except (CPLE_BaseError, RasterioError, OSError) as error:
        raise storage_error(out, error) from None
    finally:
        discard(part)


def put(part: Path, out: Path) -> None:
    """Put a merged map in its place.

    Raises:
        StorageError: it cannot be written; the merged map goes, an old one stays.
    """
    try:
        os.replace(part, out)
        # Statistics that a viewer kept of the old map do not hold for this one.
        out.with_name(out.name + ".aux.xml").unlink(missing_ok=True)
    except OSError as error:
        discard(part)
        raise storage_error(out, error) from None


def check_whole(path: Path) -> None:
    """Bring the file to the disk and read it once: GDAL does not tell of every block it could not write.

    Raises:
        RasterioError, OSError: it is not whole.
    """
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    with rasterio.open(path) as dataset:
        levels = [None, *range(len(dataset.overviews(1)))]
    for level in levels:
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
            # All bands of a block at a time: band by band, each block would be decoded once a band.
            for _, window in dataset.block_windows(1):
                dataset.read(window=window)


def _vrt(
    parts: Sequence[tuple[Window, Path]],
    grid: Grid,
    legend: Sequence[MapClass] | None,
    metadata: dict[str, str],
    bands: Sequence[str],
    kind: Kind,
) -> str:
    """VRT XML of the whole map (GDAL, "VRT driver")."""
    root = Xml.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    Xml.SubElement(root, "SRS").text = CRS.from_user_input(grid.crs).to_wkt()
    t = grid.transform
    Xml.SubElement(root, "GeoTransform").text = ", ".join(
        repr(float(v)) for v in (t.c, t.a, t.b, t.f, t.d, t.e)
    )
    items = Xml.SubElement(root, "Metadata")
    for key, value in sorted(metadata.items()):
        Xml.SubElement(items, "MDI", key=key).text = value
    dtype = "Float32" if kind == "value" else "Byte"
    for number, description in enumerate(bands, start=1):
        band = Xml.SubElement(root, "VRTRasterBand", dataType=dtype, band=str(number))
        if description:
            Xml.SubElement(band, "Description").text = description
        Xml.SubElement(band, "NoDataValue").text = _NODATA[kind]
        Xml.SubElement(band, "ColorInterp").text = "Palette" if legend is not None else "Gray"
        if legend is not None:
            table = Xml.SubElement(band, "ColorTable")
            for _, (red, green, blue, alpha) in sorted(colormap(legend).items()):
                Xml.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))
        for window, path in parts:
            source = Xml.SubElement(band, "SimpleSource")
            Xml.SubElement(source, "SourceFilename", relativeToVRT="0").text = str(path.resolve())
            Xml.SubElement(source, "SourceBand").text = str(number)
            width, height = str(window.width), str(window.height)
            # Told beforehand, so that GDAL opens a chunk only when it reads it.
            Xml.SubElement(
                source, "SourceProperties", RasterXSize=width, RasterYSize=height, DataType=dtype, BlockXSize="256",
                BlockYSize="256",
            )  # fmt: skip
            Xml.SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=width, ySize=height)
            Xml.SubElement(
                source, "DstRect", xOff=str(window.col), yOff=str(window.row), xSize=width, ySize=height
            )
    return Xml.tostring(root, encoding="unicode")


def discard(part: Path) -> None:
    """Remove what a failed write left: the part and GDAL's temporary files beside it."""
    # A folder that cannot be written or is gone holds no part to remove.
    with contextlib.suppress(OSError):
        for path in part.parent.iterdir():
            if path.name.startswith(part.name):
                path.unlink(missing_ok=True)


def storage_error(path: Path, error: Exception) -> StorageError:
    """What GDAL or the system says of a failed write, as a sentence."""
    reason = getattr(error, "strerror", None) or (str(error).splitlines() or ["unknown reason"])[0]
    return StorageError(
        f"cannot be written ({reason})", str(path), "Free some space, or choose another folder for the map"
    )
