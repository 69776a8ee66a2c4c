"""A map without labels: k-means on the features of an embedding, as a class map (contract C6).

Sculley, D. (2010), Web-scale k-means clustering, WWW 2010, 1177-1178, on a sample; then every pixel goes to its nearest centre.

Shape legend: K clusters, F features, h x w pixels of a window.
"""

import colorsys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

import skysense
from skysense.errors import InputError
from skysense.inference.embedding import Embedding
from skysense.inference.windowed import windowed
from skysense.jobs.control import JobControl
from skysense.raster.classmap import MAX_ID, ClassMap
from skysense.raster.grid import Window
from skysense.raster.maps import MapClass, merge_aside, put

#: Hues a golden section of the circle apart: however many there are, neighbours in number differ.
_GOLDEN = 0.618034


def cluster(path: Path, out: Path, control: JobControl, *, k: int, seed: int = 0) -> dict[str, Any]:
    """Write a map of the clusters of an embedding: uint8, 1 = the largest, 0 = nothing seen; a COG with names and colours.

    Features are standardised over the scene. The same embedding, number and seed give the same map.

    Args:
        path: the embedding.
        out: the map; its folder must exist.
        k: clusters, 2..255; fewer come out where some would be empty.

    Returns:
        "map" (the file), "classes", each "id", "name", "color", "pixels".

    Raises:
        InputError: no embedding, a number beyond 2..255, or fewer pixels than clusters; StorageError; Cancelled.
    """
    for name, value, least, most in (("number of clusters", k, 2, MAX_ID), ("seed", seed, 0, 2**32 - 1)):
        if not least <= value <= most:
            raise InputError(f"the {name} is {value}", "cluster", f"Use {least} to {most}")
    with Embedding(path) as embedding:
        embedding.check_apart(out)
        control.progress(0.0, "Reading a sample")
        centres = _centres(embedding, k, seed)
        counts = np.zeros(k, np.int64)
        raw = _assigned(embedding, centres, counts, control.share(0.3, 0.9))
        with windowed(out.with_name(f"{out.stem}_raw.tif"), embedding.grid, raw, 0) as unordered:
            order = np.argsort(-counts, kind="stable")
            order = order[counts[order] > 0]
            new = np.zeros(MAX_ID + 1, np.uint8)
            new[order + 1] = np.arange(1, len(order) + 1)
            legend = [MapClass(i, f"cluster {i}", _color(i)) for i in range(1, len(order) + 1)]
            tags = {
                **embedding.tags,
                "SKYSENSE_VERSION": skysense.__version__,
                "SKYSENSE_CLUSTERS": f"k-means, K {k}, seed {seed}",
            }
            tags.pop("SKYSENSE_FEATURES")  # it is no embedding itself
            parts = _renumbered(unordered, embedding.windows(), new)
            control.progress(0.9, "Writing the map")
            with windowed(out, embedding.grid, parts, 0) as whole:
                put(
                    merge_aside([(embedding.grid.window, whole)], out, embedding.grid, legend, tags, "class"),
                    out,
                )
    if len(legend) < k:
        control.note(f"{k - len(legend)} of {k} clusters hold no pixel; the map has {len(legend)}.")
    control.progress(1.0, "Clustered")
    return {
        "map": str(out),
        "classes": [
            {"id": item.id, "name": item.name, "color": item.color, "pixels": int(counts[old])}
            for item, old in zip(legend, order)
        ],
    }


def _centres(embedding: Embedding, k: int, seed: int) -> NDArray[np.float32]:
    """(K, F), standardised."""
    rows = embedding.sample(seed)
    if len(rows) < k:
        raise InputError(
            f"holds {len(rows)} pixels, too few for {k} clusters", str(embedding.path), "Ask for fewer"
        )
    fitted = MiniBatchKMeans(k, random_state=seed, n_init=3, batch_size=4096).fit(
        embedding.scaling.standard(rows)
    )
    return np.asarray(fitted.cluster_centers_, np.float32)


def _assigned(
    embedding: Embedding, centres: NDArray[np.float32], counts: NDArray[np.int64], control: JobControl
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """Each window and its clusters (h, w), 1..K, 0 where nothing was seen; counts (K,) are added to."""
    windows = embedding.windows()
    half = (centres * centres).sum(1)[:, None, None] / 2
    for number, window in enumerate(windows):
        control.progress(number / len(windows), "Clustering")
        inner, _, valid = embedding.products(window, centres)
        # Nearest: |x - c|² less |x|², halved.
        found = np.where(valid, (half - inner).argmin(0) + 1, 0).astype(np.uint8)
        counts += np.bincount(found[valid] - 1, minlength=len(counts))
        yield window, found


def _renumbered(
    path: Path, windows: list[Window], new: NDArray[np.uint8]
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    with ClassMap(path) as raw:
        for window in windows:
            yield window, new[raw.read(window)]


def _color(number: int) -> str:
    red, green, blue = colorsys.hsv_to_rgb(
        number * _GOLDEN % 1, (0.75, 0.5)[number % 2], (0.85, 0.65, 0.95)[number % 3]
    )
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
