"""Rotated boxes: from drawn polygons, their overlap, and of overlapping ones the surest.

A box is x, y (its centre), w, h (its sides) and a (radians from the x axis towards the y axis to the side w): (N, 5) float64. The
same box is also x, y, h, w, a + 90 degrees.
"""

import numpy as np
import shapely
from numpy.typing import NDArray

Boxes = NDArray[np.float64]

#: The side of a box is never shorter than this share of its other one.
_THINNEST = 1e-3


def boxes_of(shapes: NDArray[np.object_]) -> Boxes:
    """The smallest rectangle around each polygon (N,), whatever its angle; of a point its place, with sides of 0."""
    boxes = np.zeros((len(shapes), 5))
    for box, shape in zip(boxes, shapes):
        rectangle = shapely.oriented_envelope(shape)
        if rectangle.geom_type != "Polygon":
            box[:2] = shape.centroid.x, shape.centroid.y
            continue
        corners = shapely.get_coordinates(rectangle)
        sides = np.diff(corners[:3], axis=0)
        lengths = np.hypot(*sides.T)
        longer = int(lengths[1] > lengths[0] * (1 + 1e-9))
        side = sides[longer]
        box[:2] = corners[:4].mean(0)
        box[2], box[3] = lengths[longer], max(lengths[1 - longer], _THINNEST * lengths[longer])
        box[4] = np.arctan2(side[1], side[0]) % np.pi
    return boxes


def polygons_of(boxes: Boxes) -> NDArray[np.object_]:
    """(N,) shapely polygons."""
    along = np.stack((np.cos(boxes[:, 4]), np.sin(boxes[:, 4])), 1)
    across = np.stack((-along[:, 1], along[:, 0]), 1)
    half_w, half_h = along * boxes[:, 2:3] / 2, across * boxes[:, 3:4] / 2
    centre = boxes[:, :2]
    corners = (
        centre - half_w - half_h,
        centre + half_w - half_h,
        centre + half_w + half_h,
        centre - half_w + half_h,
    )
    return np.asarray(shapely.polygons(np.stack(corners, 1)), object)


def overlaps(one: Boxes, other: Boxes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of overlapping boxes (numbers in `one` and in `other`, ascending), and their intersection over union (P,)."""
    ours, theirs = polygons_of(one), polygons_of(other)
    i, j = shapely.STRtree(theirs).query(ours, predicate="intersects")
    order = np.lexsort((j, i))
    i, j = i[order], j[order]
    common = shapely.area(shapely.intersection(ours[i], theirs[j]))
    total = shapely.area(ours)[i] + shapely.area(theirs)[j] - common
    return i, j, common / np.maximum(total, 1e-12)


def nearness(
    one: Boxes, other: Boxes, reach: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of boxes whose centres are at most `reach` apart, and how near: 1 at the same place, 0 at the end of the reach."""
    ours, theirs = shapely.points(one[:, :2]), shapely.points(other[:, :2])
    i, j = shapely.STRtree(theirs).query(ours, predicate="dwithin", distance=reach)
    order = np.lexsort((j, i))
    i, j = i[order], j[order]
    return i, j, 1 - np.hypot(*(one[i, :2] - other[j, :2]).T) / reach


def surest(
    boxes: Boxes, scores: NDArray[np.float64], reach: float | None, overlap: float = 0.3
) -> NDArray[np.int64]:
    """Numbers of the boxes of which no surer one that stays shows the same object: greedy non-maximum suppression.

    The result depends on no order of the boxes: equally sure ones go from the top down, and from left to right.

    Args:
        reach: of centres that show the same object, where objects have no size; None: boxes that overlap do.
        overlap: intersection over union from which on boxes show the same object.
    """
    order = np.lexsort((boxes[:, 0], boxes[:, 1], -scores))
    boxes = boxes[order]
    if reach is None:
        i, j, iou = overlaps(boxes, boxes)
        same = (iou > overlap) & (i < j)
    else:
        i, j, near = nearness(boxes, boxes, reach)
        same = (near > 0) & (i < j)
    rivals: dict[int, list[int]] = {}
    for surer, other in zip(i[same].tolist(), j[same].tolist()):
        rivals.setdefault(surer, []).append(other)
    stays = np.ones(len(boxes), bool)
    for place in sorted(rivals):
        if stays[place]:
            stays[rivals[place]] = False
    return np.asarray(np.sort(order[stays]), np.int64)
