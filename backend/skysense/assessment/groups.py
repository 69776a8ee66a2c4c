"""Things that hang together in pairs, in long arrays: what is worked on at a time is short, so that memory holds little beside the arrays.

Numbers are int32: there are fewer than 2**31 things. Shape legend: N things, E pairs.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Looked up at a time: NumPy makes 8 bytes of every index meanwhile, however small.
_BLOCK = 2**18


def blocks(count: int) -> Iterator[slice]:
    """Cut a long array into slices."""
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


def take(table: NDArray[Any], index: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """`table[index]`, block by block."""
    taken = np.empty(index.shape, table.dtype)
    for block in blocks(len(index)):
        taken[block] = table[index[block]]
    return taken


def keep(rows: NDArray[Any], wanted: NDArray[np.bool_]) -> NDArray[Any]:
    """`rows[wanted]`, in the place of `rows`."""
    count = 0
    for block in blocks(len(rows)):
        part = rows[block][wanted[block]]
        rows[count : count + len(part)] = part
        count += len(part)
    return rows[:count]


def connect(count: int, pairs: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Which of `count` things hang together.

    Args:
        pairs: (E, 2) of things that do.

    Returns:
        (count,) the lowest number of each one's group: every root is hooked to the lowest one beside it and paths are
        halved until nothing moves (Shiloach and Vishkin 1982).
    """
    root = np.arange(count, dtype=np.int32)
    one, other = pairs[:, 0], pairs[:, 1]
    while True:
        a, b = take(root, one), take(root, other)
        apart = a != b
        if not apart.any():
            return root
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        root = ends(root)


def ends(up: NDArray[np.int32]) -> NDArray[np.int32]:
    """(N,) where the way from each thing n over up[n] ends; there are no circles, and an end is its own next."""
    while not np.array_equal(further := take(up, up), up):
        up = further
    return up


def numbered(
    root: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Of what `connect` gives: the lowest member of each group, and (N,) the number of each one's group, from 0 in that order."""
    is_root = root == np.arange(len(root), dtype=root.dtype)
    numbers = np.cumsum(is_root, dtype=root.dtype)
    numbers -= 1
    return np.flatnonzero(is_root), take(numbers, root)


def distinct_pairs(one: NDArray[np.integer[Any]], other: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """(E, 2) pairs of different numbers, lower number first, each once."""
    apart = one != other
    one, other = one[apart].astype(np.int64), other[apart].astype(np.int64)
    if not len(one):
        return np.empty((0, 2), np.int64)
    low, high = np.minimum(one, other), np.maximum(one, other)
    # One number a pair sorts ten times faster than rows do; np.unique would take several times the memory.
    width = int(high.max()) + 1
    keys = low * width + high
    keys.sort()
    return np.stack(np.divmod(keys[np.append(True, keys[1:] != keys[:-1])], width), 1)


def distinct(pairs: NDArray[np.int32]) -> NDArray[np.int32]:
    """(E, 2) each once, in the place of (D, 2) pairs."""
    keys = pairs.view(np.int64)[:, 0]
    keys.sort()
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keep(pairs, first)
