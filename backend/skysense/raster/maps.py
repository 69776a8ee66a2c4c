"""The finished map (contract C6): chunks merged into one cloud-optimised GeoTIFF, in constant memory.

The chunks are strung together by a VRT and copied once by GDAL's COG driver, so the bytes of the map do not depend on
the order in which chunks were written.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as Xml

import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError

from skysense.errors import StorageError
from skysense.raster.grid import Grid, Window


@dataclass(frozen=True)
class MapClass:
    """A class of a map: id 1..255, name, colour "#rrggbb"."""

    id: int
    name: str
    color: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)


Kind = Literal["class", "confidence"]


def colormap(legend: Sequence[MapClass]) -> dict[int, tuple[int, int, int, int]]:
    """The colour table of a class map; 0 (not mapped) is transparent."""
    table = {value: (0, 0, 0, 0) for value in range(256)}
    table.update({item.id: (*item.rgb, 255) for item in legend})
    return table


def merge_chunks(
    parts: Sequence[tuple[Window, Path]],
    out: Path,
    grid: Grid,
    legend: Sequence[MapClass],
    metadata: dict[str, str],
    kind: Kind,
) -> None:
    """Merge chunk files into one COG, written aside and renamed: an old map stays until the new one is whole.

    Args:
        parts: each chunk's window on `grid` and its file.
        out: the map.
        metadata: items of the default domain, beside `SKYSENSE_CLASSES`.

    Raises:
        StorageError: it cannot be written; nothing half-written is left.
    """
    part = out.with_name(out.name + ".part")
    names = {str(item.id): item.name for item in legend}
    metadata = {**metadata, "SKYSENSE_CLASSES": json.dumps(names, ensure_ascii=False)}
    try:
        with tempfile.TemporaryDirectory(dir=parts[0][1].parent) as folder:
            vrt = Path(folder) / "map.vrt"
            vrt.write_text(_vrt(parts, grid, legend if kind == "class" else None, metadata), encoding="utf-8")
            rasterio.shutil.copy(
                vrt, part, driver="COG", compress="DEFLATE", blocksize=512, resampling="NEAREST",
                overview_compress="DEFLATE", bigtiff="IF_SAFER", num_threads=1,
            )  # fmt: skip
        os.replace(part, out)
    except (RasterioError, OSError) as error:
        part.unlink(missing_ok=True)
        raise storage_error(out, error) from None


def _vrt(
    parts: Sequence[tuple[Window, Path]], grid: Grid, legend: Sequence[MapClass] | None, metadata: dict[str, str]
) -> str:
    """VRT XML of the whole map (GDAL, "VRT driver")."""
    root = Xml.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    Xml.SubElement(root, "SRS").text = rasterio.crs.CRS.from_user_input(grid.crs).to_wkt()
    t = grid.transform
    Xml.SubElement(root, "GeoTransform").text = ", ".join(repr(v) for v in (t.c, t.a, t.b, t.f, t.d, t.e))
    items = Xml.SubElement(root, "Metadata")
    for key, value in sorted(metadata.items()):
        Xml.SubElement(items, "MDI", key=key).text = value
    band = Xml.SubElement(root, "VRTRasterBand", dataType="Byte", band="1")
    Xml.SubElement(band, "NoDataValue").text = "0"
    Xml.SubElement(band, "ColorInterp").text = "Palette" if legend else "Gray"
    if legend:
        table = Xml.SubElement(band, "ColorTable")
        for _, (red, green, blue, alpha) in sorted(colormap(legend).items()):
            Xml.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))
    for window, path in parts:
        source = Xml.SubElement(band, "SimpleSource")
        Xml.SubElement(source, "SourceFilename", relativeToVRT="0").text = str(path.resolve())
        Xml.SubElement(source, "SourceBand").text = "1"
        size = {"xSize": str(window.width), "ySize": str(window.height)}
        # Told beforehand, so that GDAL opens a chunk only when it reads it.
        Xml.SubElement(
            source, "SourceProperties", RasterXSize=size["xSize"], RasterYSize=size["ySize"], DataType="Byte",
            BlockXSize="256", BlockYSize="256",
        )  # fmt: skip
        Xml.SubElement(source, "SrcRect", xOff="0", yOff="0", **size)
        Xml.SubElement(source, "DstRect", xOff=str(window.col), yOff=str(window.row), **size)
    return Xml.tostring(root, encoding="unicode")


def storage_error(path: Path, error: Exception) -> StorageError:
    """What GDAL or the system says of a failed write, as a sentence."""
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return StorageError(
        f"cannot be written ({reason})", str(path), "Free some space, or choose another folder for the map"
    )
