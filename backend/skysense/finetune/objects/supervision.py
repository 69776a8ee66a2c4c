"""Which cells of a tile teach what: objects, background, or nothing; and which fold each belongs to.

What is not drawn is background only where the user has drawn everything: inside of the areas that are said to be fully labelled, or
else within a ring around the drawn objects.
"""

from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from sklearn.neighbors import KDTree

from skysense.finetune.objects.boxes import Boxes, polygons_of
from skysense.finetune.objects.network import STRIDE
from skysense.raster.grid import Window

#: Width of the ring around drawn objects, in usual sizes of an object.
_RING = 2.0
#: Objects in a block that is held out as a whole, at least; and blocks at most.
_BLOCK_OBJECTS, _BLOCKS = 2, 16
FOLDS = 3


@dataclass(frozen=True)
class Objects:
    """Objects on the pixels of a lattice.

    Attributes:
        boxes: (N, 5) in pixels, y downwards.
        classes: (N,) places of their classes, from 0 on.
        blocks: (N,) block of neighbours, and folds: (N,) fold in which each is held out.
        sized: whether they have a size.
        usual: the usual side of one in pixels.
    """

    boxes: Boxes
    classes: NDArray[np.int64]
    blocks: NDArray[np.int64]
    folds: NDArray[np.int64]
    sized: bool
    usual: float


def neighbour_blocks(centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) blocks of about as many neighbours each: halved again and again across the longer side."""
    block = np.zeros(len(centres), np.int64)
    while (int(block.max()) + 1) * 2 <= min(_BLOCKS, len(centres) // _BLOCK_OBJECTS):
        halves = np.zeros_like(block)
        for number in range(int(block.max()) + 1):
            members = np.flatnonzero(block == number)
            places = centres[members]
            axis = int(np.ptp(places, axis=0).argmax())
            order = members[np.lexsort((places[:, 1 - axis], places[:, axis]))]
            halves[order[len(order) // 2 :]] = 1
        block = 2 * block + halves
    return block


def deal(blocks: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """(N,) the fold of each object: whole blocks, dealt at random."""
    numbers = np.unique(blocks)
    order = np.random.default_rng(seed).permutation(len(numbers))
    return np.asarray(order[np.searchsorted(numbers, blocks)] % FOLDS, np.int64)


class Supervision:
    """Tells of each cell whether it teaches, and its fold.

    Args:
        objects: what is drawn.
        areas: shapely polygons in pixels of the lattice inside of which all objects are drawn; None: there are none.
    """

    def __init__(self, objects: Objects, areas: NDArray[np.object_] | None) -> None:
        self.objects, self.ring = objects, _RING * objects.usual
        self._tree = KDTree(objects.boxes[:, :2])
        shapes = polygons_of(objects.boxes) if objects.sized else shapely.points(objects.boxes[:, :2])
        # An object's own ground teaches in any case.
        known = shapely.buffer(shapes, self.ring if areas is None else STRIDE)
        self._known = known if areas is None else np.concatenate((known, areas))
        self._known_tree = shapely.STRtree(self._known)

    def cells(self, window: Window) -> NDArray[np.int8]:
        """(h, w) of a window of pixels: the fold of the nearest object where a cell teaches, -1 elsewhere."""
        height, width = window.height // STRIDE, window.width // STRIDE
        frame = shapely.box(window.col, window.row, window.col + window.width, window.row + window.height)
        near = np.sort(self._known_tree.query(frame, predicate="intersects"))
        found = np.full((height, width), -1, np.int8)
        if not len(near):
            return found
        transform = Affine(STRIDE, 0, window.col, 0, STRIDE, window.row)
        known = rasterio.features.rasterize(
            [(shape, 1) for shape in self._known[near]], (height, width), transform=transform, dtype="uint8"
        )
        rows, cols = np.nonzero(known)
        centres = np.stack((window.col + STRIDE * (cols + 0.5), window.row + STRIDE * (rows + 0.5)), 1)
        if len(rows):
            nearest = self._tree.query(centres, return_distance=False)[:, 0]
            found[rows, cols] = self.objects.folds[nearest]
        return found
