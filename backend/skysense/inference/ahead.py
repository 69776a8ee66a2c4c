"""Files of a scene that are opened where a map begins, while the model is loaded."""

import math
from contextlib import AbstractContextManager, suppress

from skysense.raster.crs import transformer
from skysense.raster.layout import Layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tile, Tiling
from skysense.scene.acquisition import Scene
from skysense.scene.remote import is_remote, stamp

#: When a scene's images were changed, and their sizes.
Stamps = tuple[tuple[int | str, int], ...]


class Ahead:
    """A reader that has looked ahead, for whoever takes it; the others open their own.

    Args:
        scene, layout: as of `SceneReader`.
        tile: that the map begins with.
    """

    def __init__(self, scene: Scene, layout: Layout, tile: Tile) -> None:
        self._scene, self._stamps = scene, _stamps(scene)
        self._window = layout.base.grid(tile.window)
        self._reader: SceneReader | None = SceneReader(scene, layout)

    def looking(self) -> AbstractContextManager[None]:
        """In a `with` block, while something else is done; see `SceneReader.looking_ahead`."""
        assert self._reader is not None
        return self._reader.looking_ahead(self._window)

    def take(self) -> SceneReader | None:
        """The reader, which its user closes; None: it is taken, or holds files open that are no longer those of their names."""
        if self._reader is not None and _stamps(self._scene) != self._stamps:
            self.close()
        reader, self._reader = self._reader, None
        return reader

    def close(self) -> None:
        """Close the reader that nobody has taken."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def may_look(scene: Scene) -> bool:
    """Whether all files are of this machine: a server that does not answer would be waited for where nobody can cancel."""
    return not any(is_remote(item.path) for item in scene.acquisitions)


def first_tile(layout: Layout, tiling: Tiling, start: tuple[float, float] | None) -> Tile:
    """About where a map begins.

    Args:
        start: a place in the output's CRS; None: nowhere in particular.
    """
    area = layout.area
    if start is not None:
        x, y = transformer(layout.output.crs, layout.compute.crs).transform(*start)
        if math.isfinite(x) and math.isfinite(y):
            side = layout.compute.gsd
            area = layout.compute.window_of((x, y - side, x + side, y)).intersect(area) or area
    return next(iter(tiling.over(area)))


def _stamps(scene: Scene) -> Stamps:
    """Nothing of those that are gone, of which reading tells."""
    found = []
    for path in dict.fromkeys(band.path for item in scene.acquisitions for band in item.bands.values()):
        with suppress(OSError):
            found.append(stamp(path))
    return tuple(found)
