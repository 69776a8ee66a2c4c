"""What else looks like this? The cosine similarity of every pixel's features to those of places that the user points at.

Shape legend: R references, F features, h x w pixels of a window.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.inference.embedding import Embedding
from skysense.inference.places import clicked, drawn
from skysense.inference.windowed import windowed
from skysense.jobs.control import JobControl
from skysense.raster.crs import read_crs
from skysense.raster.grid import Window
from skysense.raster.maps import write_cog

NODATA = 255
DESCRIPTION = "similarity to the chosen places, 0..100"
#: References that are compared at a time: 16 MB a window.
_AT_ONCE = 64


def similar(
    path: Path,
    out: Path,
    control: JobControl,
    *,
    at: list[tuple[float, float]] | None = None,
    at_crs: str | None = None,
    labels: Path | None = None,
    layer: str | None = None,
) -> dict[str, Any]:
    """Write how much every pixel looks like the chosen places: uint8, 0..100, 255 = nothing seen; a COG.

    The value is 100 times the cosine of the angle between the pixel's features and those of the place, each feature
    standardised over the scene (else the few of large values decide); at right angles or beyond it is 0. A polygon stands for the
    mean of its pixels; of several places the most similar one counts.

    Args:
        path: the embedding.
        out: the raster; its folder must exist.
        at: places (x, y) in `at_crs`, or in the embedding's CRS where that is None.
        labels: polygons or points, instead of or beside `at`; their fields do not matter.
        layer: inside the labels' file, where it holds several.

    Returns:
        "similarity" (the file), "places" (how many are compared).

    Raises:
        InputError: no embedding, no place, or one outside it or where nothing was seen; StorageError; Cancelled.
    """
    if not at and labels is None:
        raise InputError("no place is chosen", "similar", "Give a place (--at X Y) or a layer (--labels)")
    with Embedding(path) as embedding:
        embedding.check_apart(out)
        crs = embedding.grid.crs if at_crs is None else read_crs(at_crs, "places")
        rows = [clicked(embedding, x, y, crs) for x, y in at or []]
        control.progress(0.0, "Reading the places")
        if labels is not None:
            places = drawn(embedding, labels, layer, control)
            rows += [places.features[places.shapes == number].mean(0) for number in np.unique(places.shapes)]
        references = embedding.scaling.standard(np.stack(rows))
        references /= np.maximum(np.linalg.norm(references, axis=1, keepdims=True), 1e-6)
        tags = {**embedding.tags, "SKYSENSE_SIMILARITY": f"cosine x 100 to {len(rows)} places"}
        tags.pop("SKYSENSE_FEATURES")  # it is no embedding itself
        parts = _similarities(embedding, references, control.share(0.1, 0.95))
        with windowed(out, embedding.grid, parts, NODATA, DESCRIPTION, tags) as source:
            write_cog(source, out)
    control.progress(1.0, "Compared")
    return {"similarity": str(out), "places": len(rows)}


def _similarities(
    embedding: Embedding, references: NDArray[np.float32], control: JobControl
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """Each window and its values (h, w); references (R, F) are standardised and of length 1."""
    windows = embedding.windows()
    for number, window in enumerate(windows):
        control.progress(number / len(windows), "Comparing")
        best = np.full((window.height, window.width), -np.inf, np.float32)
        for first in range(0, len(references), _AT_ONCE):
            inner, squares, valid = embedding.products(window, references[first : first + _AT_ONCE])
            np.maximum(best, inner.max(0), out=best)
        cosine = best / np.maximum(np.sqrt(squares), np.float32(1e-6))
        yield window, np.where(valid, np.rint(100 * np.clip(cosine, 0, 1)), NODATA).astype(np.uint8)
