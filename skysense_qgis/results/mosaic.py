"""Chunks of a map strung together while more come: quick to redraw at any scale, whatever their number.

Chunks lie in pages of 4,096 x 4,096 pixels. A page is a VRT of its chunks and a preview of them at 1:8, copied from their own
overviews. The mosaic is a VRT of the pages' VRTs whose overview is a VRT of the previews (GDAL, "VRT driver", `Overview`): from afar
QGIS opens one small raster a page, close by the few chunks in view. Each step writes new files for the pages that changed and a new
mosaic: what a viewer may have open is never written again.
"""

from __future__ import annotations

import contextlib
from collections import deque
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from osgeo import gdal

#: Pixels of a page's side, and of a preview's pixel's.
_PAGE, _SCALE = 4096, 8
#: GDAL lists the folder of each file that it opens, and a run's holds tens of thousands; the folder of a part of a file it does not.
_UNLISTED = "/vsisubfile/0,"
#: Chunks that are taken at a time: some 30 ms.
_TAKEN = 32
#: Files that have been replaced stay for so many steps: a drawing that began with them still reads them.
_KEPT_STEPS = 5


class _Box(NamedTuple):
    """Pixels left, top (inclusive) to right, bottom (exclusive), counted from the first chunk's upper left corner."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top

    def around(self, other: _Box) -> _Box:
        """The smallest box that holds both."""
        return _Box(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))

    def inside(self, other: _Box) -> _Box:
        """The same, counted from another box's corner."""
        return _Box(
            self.left - other.left, self.top - other.top, self.right - other.left, self.bottom - other.top
        )

    @property
    def small(self) -> _Box:
        """The same in pixels of the preview, where neighbours are neighbours too and nothing has no size."""
        left, top, right, bottom = (round(edge / _SCALE) for edge in self)
        return _Box(left, top, max(right, left + 1), max(bottom, top + 1))


class _Page:
    """A page: its chunks, and the files of it that the next mosaic shows."""

    def __init__(self, box: _Box) -> None:
        self.box, self.small = box, box.small
        self.chunks: list[tuple[str, _Box]] = []
        self.fresh: list[tuple[_Box, bytes]] = []  # what the preview does not show yet
        self.vrt: Path | None = None
        self.preview: Path | None = None
        self.preview_box = box.small  # what the file covers


class Mosaic:
    """Class chunks on one lattice, cut by the same rows and columns, as one raster.

    Args:
        folder: for the mosaic's files; its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: deque[str] = deque()
        self._pages: dict[tuple[int, int], _Page] = {}
        self._step = 1
        self._current: list[Path] = []  # mosaic and preview that were written last
        self._replaced: deque[tuple[int, Path]] = deque()
        self._head, self._band_head = "", ""
        self._transform: tuple[float, ...] = ()
        self._inverse: tuple[float, ...] = ()

    def add(self, path: str) -> None:
        """Let a chunk wait until it is taken."""
        self._waiting.append(path)

    def take(self) -> bool:
        """Work in up to 32 of the waiting chunks; returns whether more wait. A file that cannot be opened is left out.

        Raises:
            OSError: the mosaic's files cannot be written.
        """
        changed = {}
        for _ in range(min(_TAKEN, len(self._waiting))):
            key = self._place(self._waiting.popleft())
            if key is not None:
                changed[key] = self._pages[key]
        for key, page in changed.items():
            self._write_page(page, f"page_{key[0]}_{key[1]}")
        return bool(self._waiting)

    def write(self) -> str:
        """Write the mosaic of all that was taken; returns its VRT, or "" where there is none.

        Raises:
            OSError: it cannot be written.
        """
        if not self._pages:
            return ""
        pages = list(self._pages.values())
        mosaic, preview = self._name("live", "vrt"), self._name("preview", "vrt")
        self._write_vrt(preview, [(str(page.preview), page.preview_box) for page in pages])
        self._write_vrt(mosaic, [(str(page.vrt), page.box) for page in pages], overview=preview)
        self._replace(self._current)
        self._current = [mosaic, preview]
        self._clear_away()
        self._step += 1
        return str(mosaic)

    def _place(self, path: str) -> tuple[int, int] | None:
        """Put a chunk into its page; returns the page's place."""
        dataset = _open(path)
        if dataset is None:
            return None
        if not self._head:
            self._learn(dataset)
        corner = gdal.ApplyGeoTransform(self._inverse, *dataset.GetGeoTransform()[0:4:3])
        left, top = (round(value) for value in corner)
        box = _Box(left, top, left + dataset.RasterXSize, top + dataset.RasterYSize)
        key = left // _PAGE, top // _PAGE
        page = self._pages.setdefault(key, _Page(box))
        page.box, page.small = page.box.around(box), page.small.around(box.small)
        page.chunks.append((_UNLISTED + path, box))
        width, height = box.small.size
        values = dataset.GetRasterBand(1).ReadRaster(
            buf_xsize=width, buf_ysize=height, buf_type=gdal.GDT_Byte
        )
        page.fresh.append((box.small, bytes(values)))
        return key

    def _learn(self, dataset: gdal.Dataset) -> None:
        """Take lattice and colours from the first chunk."""
        self._transform = dataset.GetGeoTransform()
        self._inverse = gdal.InvGeoTransform(self._transform)
        self._head = f"<SRS>{escape(dataset.GetProjection())}</SRS>"
        table = dataset.GetRasterBand(1).GetColorTable()
        if table is not None:
            entries = (table.GetColorEntry(number) for number in range(table.GetCount()))
            colors = "".join('<Entry c1="%d" c2="%d" c3="%d" c4="%d"/>' % entry for entry in entries)
            self._band_head = f"<ColorInterp>Palette</ColorInterp><ColorTable>{colors}</ColorTable>"

    def _write_page(self, page: _Page, name: str) -> None:
        """Write the page as it is now, under this step's name."""
        vrt, preview = self._name(name, "vrt"), self._name(name, "tif")
        self._write_vrt(vrt, page.chunks)
        old = None if page.preview is None else _open(str(page.preview))
        if old is not None:
            page.fresh.insert(0, (page.preview_box, bytes(old.ReadRaster())))
            old = None  # closes it: a page that has changed twice in a step is written twice
        page.preview_box = page.small
        try:
            new = gdal.GetDriverByName("GTiff").Create(str(preview), *page.small.size, 1, gdal.GDT_Byte)
        except RuntimeError:  # where another plugin has switched GDAL's exceptions on
            new = None
        if new is None:
            raise OSError(f"{preview} cannot be written")
        band = new.GetRasterBand(1)
        for box, values in page.fresh:
            band.WriteRaster(*box.inside(page.small)[:2], *box.size, values)
        del band, new  # closes it, so that the file is whole
        page.fresh = []
        if page.vrt is not None and page.preview is not None and page.vrt != vrt:
            self._replace([page.vrt, page.preview])
        page.vrt, page.preview = vrt, preview

    def _write_vrt(self, path: Path, parts: list[tuple[str, _Box]], overview: Path | None = None) -> None:
        """Write a VRT of rasters where they lie."""
        whole = parts[0][1]
        for _, box in parts:
            whole = whole.around(box)
        x, y = gdal.ApplyGeoTransform(self._transform, whole.left, whole.top)
        transform = (x, *self._transform[1:3], y, *self._transform[4:])
        text = [
            f'<VRTDataset rasterXSize="{whole.size[0]}" rasterYSize="{whole.size[1]}">{self._head}',
            f"<GeoTransform>{', '.join(map(repr, transform))}</GeoTransform>",
            f'<VRTRasterBand dataType="Byte" band="1"><NoDataValue>0</NoDataValue>{self._band_head}',
            *(_source(name, box.size, box.inside(whole)) for name, box in parts),
        ]
        if overview is not None:
            text.append(f"<Overview>{_file(str(overview))}</Overview>")
        text.append("</VRTRasterBand></VRTDataset>")
        path.write_text("".join(text), encoding="utf-8")

    def _name(self, kind: str, suffix: str) -> Path:
        return self._folder / f"{kind}_{self._step:06d}.{suffix}"

    def _replace(self, files: list[Path]) -> None:
        self._replaced.extend((self._step, file) for file in files)

    def _clear_away(self) -> None:
        """Remove the files that have been replaced for long."""
        while self._replaced and self._replaced[0][0] <= self._step - _KEPT_STEPS:
            _, path = self._replaced.popleft()
            with contextlib.suppress(OSError):  # still open in a viewer (Windows): it goes with the folder
                path.unlink()


def _open(path: str) -> gdal.Dataset | None:
    try:
        return gdal.OpenEx(_UNLISTED + path, gdal.OF_RASTER, allowed_drivers=["GTiff"])
    except RuntimeError:  # see `_write_page`
        return None


def _file(name: str) -> str:
    return f'<SourceFilename relativeToVRT="0">{escape(name)}</SourceFilename><SourceBand>1</SourceBand>'


def _source(name: str, size: tuple[int, int], target: _Box) -> str:
    """XML of a VRT's source. Its size is told, so that GDAL opens it only when it reads it."""
    width, height = size
    return (
        f"<SimpleSource>{_file(name)}"
        f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="Byte" BlockXSize="256" BlockYSize="256"/>'
        f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>'
        f'<DstRect xOff="{target.left}" yOff="{target.top}" xSize="{width}" ySize="{height}"/></SimpleSource>'
    )
