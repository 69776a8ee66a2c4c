"""Values of tiles that are kept in memory until neighbouring windows have had what they need of them.

Shape legend: K values, S the side of a tile's core in cells, k rows or columns at its edge.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

#: Bytes of tile values that are kept, but always those of so many tiles that one window needs no tile twice.
_BYTES, _AT_LEAST = 32 * 2**20, 4

Key = tuple[int, int]
Part = tuple[slice, slice]


@dataclass(frozen=True)
class Painted:
    """A tile, or an edge of it.

    Attributes:
        values: (K, S, S), more where tiles are blended; valid: the same rows and columns, of the core only.
        at: which rows and columns, counted from the core's.
        seen: False: nothing was seen in the tile, and its values mean nothing.
    """

    values: Tensor
    valid: Tensor
    at: Part
    seen: bool = True

    def covers(self, part: Part) -> bool:
        """Whether rows and columns of the core are all here."""
        return all(own.start <= asked.start and asked.stop <= own.stop for own, asked in zip(self.at, part))

    def cut(self, part: Part) -> "Painted":
        """Some of it, without the rest of its memory."""
        rows, cols = (
            slice(asked.start - own.start, asked.stop - own.start) for own, asked in zip(self.at, part)
        )
        return Painted(self.values[:, rows, cols].clone(), self.valid[rows, cols].clone(), part, self.seen)

    @property
    def bytes(self) -> int:
        return self.values.element_size() * self.values.numel() + self.valid.numel()


class HeldTiles:
    """The least recently used go first when there are too many.

    Args:
        side: S.
        edge: of a tile that a window has taken whole only so many rows at the bottom and columns at the right are kept, for the
            windows that follow (see `taken`); None: all of it, because windows do not lie on tiles.
    """

    def __init__(self, side: int, edge: int | None) -> None:
        self._side, self._edge = side, edge
        self._tiles: OrderedDict[Key, tuple[Painted, ...]] = OrderedDict()
        self._bytes = 0

    def find(self, key: Key, part: Part) -> Painted | None:
        """What covers a part of a tile."""
        for painted in self._tiles.get(key, ()):
            if painted.covers(part):
                self._tiles.move_to_end(key)
                return painted
        return None

    def put(self, key: Key, painted: Painted) -> None:
        """Keep a whole tile."""
        self._replace(key, (painted,))

    def taken(self, key: Key, part: Part, first: bool = False) -> None:
        """A window has taken a part of a tile.

        Args:
            first: the window begins with the tile: those before it follow, and need as much of its top and left.
        """
        held = self._tiles.get(key, ())
        core = all(asked.start <= 0 and self._side <= asked.stop for asked in part)
        if self._edge is None or not core or not held or not held[0].covers(part):
            return
        whole = held[0].at[0]
        edges = [slice(self._side - self._edge, whole.stop)]
        if first:
            edges.append(slice(whole.start, self._edge))
        self._replace(
            key, tuple(held[0].cut(part) for edge in edges for part in ((edge, whole), (whole, edge)))
        )

    def _replace(self, key: Key, parts: tuple[Painted, ...]) -> None:
        self._bytes -= sum(old.bytes for old in self._tiles.pop(key, ()))
        self._tiles[key] = parts
        self._bytes += sum(new.bytes for new in parts)
        while self._bytes > _BYTES and len(self._tiles) > _AT_LEAST:
            _, gone = self._tiles.popitem(last=False)
            self._bytes -= sum(old.bytes for old in gone)


def nothing(whole: slice, depth: int, device: torch.device) -> Painted:
    """A tile of these rows and columns where nothing was seen; it takes no memory to speak of."""
    size = whole.stop - whole.start
    empty = torch.zeros(1, 1, dtype=torch.bool, device=device).expand(size, size)
    values = torch.zeros(1, 1, 1, device=device).expand(depth, size, size)
    return Painted(values, empty, (whole, whole), seen=False)
