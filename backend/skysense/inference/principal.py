"""The principal components of an embedding: fewer numbers a pixel to work with, and a picture to look at.

Features are centred but not scaled, so that the distances between pixels are those of the embedding, as far as these components
tell them.

Shape legend: F features, C components, B bands, N pixels of the sample, h x w pixels of a window.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from skysense.errors import InputError
from skysense.inference.embedding import Embedding
from skysense.jobs.control import JobControl
from skysense.raster.grid import Grid, Window
from skysense.raster.handles import open_raster, read_window
from skysense.raster.maps import discard, storage_error, write_cog

#: Components of a picture, and the percentiles of the sample between which it is stretched.
_PICTURE, _STRETCH = 3, (2, 98)
#: Pixels of the sample that are looked at in float64 at a time.
_AT_ONCE = 10_000
#: How a raster is written as windows come, and the predictor that it is left with.
_FLOATS = {"dtype": "float32", "nodata": np.nan}, "FLOATING_POINT"
_COLORS = {"dtype": "uint8", "nodata": 0, "photometric": "RGB"}, "NO"


def check_components(number: int, dims: int) -> None:
    """Raises InputError where more components are asked for than there are features."""
    if number > dims:
        raise InputError(
            f"{number} principal components are asked for, of {dims} features", "embed", f"Use at most {dims}"
        )


@dataclass(frozen=True)
class Components:
    """The first principal components of a sample of pixels.

    Attributes:
        axes: (C, F) float64, of length 1; the loading that is largest in size is positive.
        shares: (C,) of the variance, 0..1.
        stretch: (2, 3 or C) 2nd and 98th percentiles of the first three components.
    """

    axes: NDArray[np.float64]
    shares: NDArray[np.float64]
    stretch: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float32], number: int) -> "Components":
        """From the features of some pixels, (N, F): eigenvectors of their covariance."""
        mean, scatter = rows.mean(0, dtype=np.float64), np.zeros((rows.shape[1],) * 2)
        parts = [slice(first, first + _AT_ONCE) for first in range(0, len(rows), _AT_ONCE)]
        for part in parts:
            centred = rows[part] - mean
            scatter += centred.T @ centred
        values, vectors = np.linalg.eigh(scatter)
        axes = vectors.T[::-1][:number]
        # An axis has no sign of its own: fixed, the same features give the same colours.
        axes = axes * np.sign(axes[np.arange(number), np.abs(axes).argmax(1)])[:, None]
        shares = values[::-1][:number].clip(0) / max(values.clip(0).sum(), np.finfo(np.float64).tiny)
        scores = np.concatenate([(rows[part] - mean) @ axes[:_PICTURE].T for part in parts])
        return cls(axes, shares, np.percentile(scores, _STRETCH, axis=0))

    @property
    def names(self) -> list[str]:
        """Of the bands, "PC1 (41 %)"."""
        return [f"PC{number} ({100 * share:.0f} %)" for number, share in enumerate(self.shares, 1)]

    def picture(self, scores: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Scores (3, h, w) as uint8, 1..255; 0 where nothing was seen."""
        low, high = self.stretch[:, :, None, None]
        shares = (scores - low) / np.where(high > low, high - low, 1)
        return np.nan_to_num(np.rint(1 + 254 * shares.clip(0, 1)), nan=0.0).astype(np.uint8)


def write_components(path: Path, number: int, control: JobControl) -> dict[str, str]:
    """Write the first principal components of an embedding beside it, and of three or more a picture; both COGs on its grid.

    `<stem>_pca.tif` is float32, NaN where nothing was seen; `<stem>_pca_rgb.tif` has the first three as uint8, stretched to
    1..255, 0 where nothing was seen. The components are those of a sample (`Embedding.sample`), always the same one.

    Args:
        path: the embedding.
        number: C, 1..F.

    Returns:
        "pca" and, of three or more, "pca_rgb": the files.

    Raises:
        InputError: no embedding, or an empty one; StorageError: a raster cannot be written; Cancelled.
    """
    out, picture = (path.with_name(f"{path.stem}_{name}.tif") for name in ("pca", "pca_rgb"))
    with Embedding(path) as embedding:
        check_components(number, embedding.dims)
        control.progress(0.0, "Reading a sample")
        found = Components.of(embedding.sample(0), number)
        tags = {name: text for name, text in embedding.tags.items() if name != "SKYSENSE_FEATURES"}
        grid, windows = embedding.grid, embedding.windows()
        scores = _scores(embedding, found, control.share(0.1, 0.7))
        _write(out, grid, found.names, tags, _FLOATS, scores)
    if number < _PICTURE:
        return {"pca": str(out)}
    colors = _colors(out, windows, found, control.share(0.7, 1.0))
    _write(picture, grid, found.names[:_PICTURE], tags, _COLORS, colors)
    return {"pca": str(out), "pca_rgb": str(picture)}


def _scores(
    embedding: Embedding, found: Components, control: JobControl
) -> Iterator[tuple[Window, NDArray[np.float32]]]:
    """Each window and its components (C, h, w)."""
    windows, std = embedding.windows(), embedding.scaling.std
    # `products` divides by the standard deviations, which these have no use for; a constant feature tells nothing.
    axes = (found.axes * np.where(np.isfinite(std), std, 0)).astype(np.float32)
    for number, window in enumerate(windows):
        control.progress(number / len(windows), "Reducing")
        inner, _, valid = embedding.products(window, axes)
        yield window, np.where(valid, inner, np.float32(np.nan))


def _colors(
    path: Path, windows: list[Window], found: Components, control: JobControl
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """Each window and its colours (3, h, w), of the raster of components."""
    with open_raster(path) as dataset:
        for number, window in enumerate(windows):
            control.progress(number / len(windows), "Colouring")
            yield window, found.picture(read_window(dataset, path, [1, 2, 3], window))


def _write(
    out: Path,
    grid: Grid,
    names: list[str],
    tags: dict[str, str],
    kind: tuple[dict[str, Any], str],
    parts: Iterable[tuple[Window, NDArray[Any]]],
) -> None:
    """Write windows (B, h, w) beside a raster's place, and copy them to a COG, which takes it when it is whole."""
    draft = out.with_name(f"{out.stem}.windows.part.tif")
    profile = {
        "driver": "GTiff", "width": grid.width, "height": grid.height, "count": len(names), "crs": grid.crs,
        "transform": grid.transform, "tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "band",
        "compress": "deflate", "zlevel": 1, "bigtiff": "if_safer",
    }  # fmt: skip
    try:
        # Without PAM no .aux.xml appears beside the raster.
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(draft, "w", **profile, **kind[0]) as dataset:
            dataset.update_tags(**tags)
            dataset.descriptions = tuple(names)
            for window, values in parts:
                place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
                dataset.write(values, window=place)
        write_cog(draft, out, kind[1])
    except (CPLE_BaseError, RasterioError, OSError) as error:
        raise storage_error(out, error) from None
    finally:
        discard(draft)
