"""A finished class map (contract C6), read block by block: class ids, 0 where nothing is mapped, and the classes' names."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.raster.grid import Window
from skysense.raster.handles import grid_of, open_raster, read_window

#: Pixels read at a time, a multiple of the map's own blocks: memory does not grow with the map. The points of a sample depend on them.
_ROWS, _COLS = 512, 4096
MAX_ID = 255


class ClassMap:
    """An open class map; close it, or use it in a `with` block.

    Attributes:
        path: the file.
        grid: its pixels.
        names: class id -> name, of `SKYSENSE_CLASSES`; empty where the map has none (as after a filter that drops the metadata).

    Args:
        path: a raster of one band of whole numbers 0..255; 0 and its nodata value are "not mapped".

    Raises:
        InputError: no such raster, no CRS, or no class ids.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._dataset = open_raster(path)
        try:
            if self._dataset.count != 1 or np.dtype(self._dataset.dtypes[0]).kind not in "iu":
                raise InputError(
                    "does not hold class ids",
                    str(path),
                    "Choose a class map, not an image or a confidence layer",
                )
            self.grid = grid_of(self._dataset, path)
            self.names = _names(self._dataset.tags().get("SKYSENSE_CLASSES"), path)
        except InputError:
            self.close()
            raise

    def __enter__(self) -> "ClassMap":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def name(self, class_id: int) -> str:
        """A class's name; "class 3" where the map names none of its classes."""
        return self.names.get(class_id, f"class {class_id}")

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (height, width) of a window inside the map; 0 = not mapped.

        Raises:
            InputError: the part is damaged, or a value is no class of this map.
        """
        values = read_window(self._dataset, self.path, [1], window)[0]
        if self._dataset.nodata is not None:
            values = np.where(values == self._dataset.nodata, 0, values)
        if values.dtype != np.uint8 and values.size and not 0 <= values.min() <= values.max() <= MAX_ID:
            raise self._stranger(int(values.min() if values.min() < 0 else values.max()))
        ids = values.astype(np.uint8)
        if self.names:
            present = np.flatnonzero(np.bincount(ids.ravel(), minlength=MAX_ID + 1))
            strangers = sorted(set(present.tolist()) - set(self.names) - {0})
            if strangers:
                raise self._stranger(strangers[0])
        return ids

    def forget(self) -> None:
        """Let go of what GDAL keeps of the blocks that were read: its cache, which is shared, would fill with what nobody reads again.

        Raises:
            InputError: the file is gone.
        """
        self._dataset.close()
        self._dataset = open_raster(self.path)

    def blocks(self, cols: int = _COLS) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
        """All of the map in windows of at most 512 x `cols` pixels, row by row from the upper left, with their class ids.

        Raises:
            InputError: see `read`.
        """
        for strip in self.grid.window.strips(_ROWS):
            for col in range(0, strip.width, cols):
                window = Window(strip.row, col, strip.height, min(cols, strip.width - col))
                yield window, self.read(window)
                self.forget()

    def _stranger(self, value: int) -> InputError:
        return InputError(
            f"holds the value {value}, which is no class of it",
            str(self.path),
            "Choose a class map, not a confidence or an image layer",
        )


def _names(text: str | None, path: Path) -> dict[int, str]:
    if not text:
        return {}
    try:
        names = {int(key): str(name) for key, name in json.loads(text).items()}
    except (ValueError, AttributeError):
        raise InputError(
            "has class names (SKYSENSE_CLASSES) that cannot be read", str(path), "Map the scene again"
        ) from None
    return {class_id: name for class_id, name in names.items() if 1 <= class_id <= MAX_ID}
