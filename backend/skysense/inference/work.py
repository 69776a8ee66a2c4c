"""A raster in the making: whatever computes some of its chunks, in this process or in another one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import torch

from skysense.inference.plan import MapPlan
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.chunks import Chunk
from skysense.scene.acquisition import Scene


class Prepared(Protocol):
    """A scene and a model made ready, by each process for itself."""

    @property
    def recipe(self) -> Recipe: ...

    @property
    def scene(self) -> Scene: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def about(self) -> str:
        """What the raster is made with, for people."""

    def manifest(self) -> dict[str, Any]:
        """All that the chunks depend on, see `journal.manifest`."""


S = TypeVar("S", bound=Prepared)


class Work(ABC, Generic[S]):
    """Computes chunks of one raster; to be used by one thread, in a `with` block. A subclass for each kind of raster.

    Args:
        session: what it works with.
        chosen: see `lanes.usual_choice` and `journal.begin`.
        share: see `lanes.Lanes`.
        found: of another process that makes the same raster.

    Attributes:
        text, span: what people are told while chunks are computed, and from where to where on the job's progress bar.
        plan: the chunks.
        found: what takes long to find out, once for all processes; it can be pickled.
    """

    text: ClassVar[str]
    span: ClassVar[tuple[float, float]]
    plan: MapPlan

    def __init__(
        self, session: S, chosen: dict[str, int], control: JobControl, share: int = 1, **found: Any
    ) -> None:
        self.session, self.found, self._open = session, found, ExitStack()
        try:
            self._prepare(chosen, control, share)
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @staticmethod
    @abstractmethod
    def open(recipe: Recipe, control: JobControl) -> Any:
        """The session of a recipe.

        Raises:
            InputError: the scene does not fit the model, or one of them cannot be used.
        """

    @abstractmethod
    def _prepare(self, chosen: dict[str, int], control: JobControl, share: int) -> None:
        """Set `plan`, and open what `_open` is to close."""

    @abstractmethod
    def expect(self, chunks: Sequence[Chunk], told: Callable[[float], None] | None = None) -> None:
        """Tell which chunks will be asked for, in order: see `canvas.TileCanvas.expect`."""

    @abstractmethod
    def compute(self, chunk: Chunk, control: JobControl) -> Any:
        """What a chunk holds, as `write` takes it.

        Raises:
            Cancelled: between two tiles; InputError: a file is gone or damaged.
        """

    @abstractmethod
    def is_whole(self, folder: Path, chunk: Chunk) -> bool:
        """Whether all of a chunk is on disk, in the folder of the run's chunks."""

    @abstractmethod
    def write(self, folder: Path, chunk: Chunk, values: Any) -> None:
        """Write a chunk, whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """

    def tell(self, folder: Path, chunk: Chunk, done: int, total: int, control: JobControl) -> None:
        """Tell that a chunk is on disk, where somebody shows what grows."""
