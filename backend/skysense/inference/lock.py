"""A run owns its output: a file beside the chunks says who writes there, and that it is alive."""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skysense.errors import Cancelled, InputError, StorageError

NAME = "lock.json"
_LOOK_S = 0.2
_PAUSED = "paused."  # and the run's name: what a killed run has left means nothing to the next
#: Seconds between two signs of life, and after which a run without one counts as dead.
_BEAT_S, _DEAD_S = 5.0, 30.0


class RunLock:
    """Held in a `with` block; a lock that a dead run has left is taken over.

    Args:
        folder: of the output's chunks, see `journal`; made where it is missing.
        output: what the run makes, for errors.
        about: what it makes it with, for whoever is refused.
    """

    def __init__(self, folder: Path, output: Path, about: str) -> None:
        self._path, self._output = folder / NAME, output
        self._owner: dict[str, Any] = {
            "pid": os.getpid(),
            "host": platform.node(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "about": about,
            "run": uuid.uuid4().hex,
        }
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Raises InputError where another run is alive; StorageError where nothing can be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            while not self._take():
                owner = _owner(self._path)
                if _alive(self._path, owner):
                    told = (
                        f"process {owner.get('pid')} on {owner.get('host')}, since {owner.get('started')}, with {owner.get('about')}"
                        if owner
                        else "that is just starting"
                    )
                    raise InputError(
                        f"is being made by another run ({told})",
                        str(self._output),
                        "Wait for it or cancel it, or choose another name",
                    )
                self._take_away(owner)
        except OSError as error:
            raise StorageError(
                f"cannot be made ({error.strerror})",
                str(self._path.parent),
                "Choose another folder for the map",
            ) from None
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self.mine:
            with contextlib.suppress(OSError):
                self._path.unlink()
                self._path.parent.rmdir()  # unless chunks are left

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Lets the run's workers wait, wherever they are, see `wait_while_paused`."""
        sign = self._path.with_name(_PAUSED + self.run)
        with contextlib.suppress(OSError):  # a full disk: then only this process waits
            sign.touch()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                sign.unlink()

    def check(self) -> None:
        """Raises InputError where another run has taken over, as after a long sleep of the machine."""
        if not self.mine:
            raise InputError(
                "was taken over by another run while this one stood still",
                str(self._output),
                "Let the other one end",
            )

    def _take(self) -> bool:
        try:
            with open(self._path, "x", encoding="utf-8") as file:
                json.dump(self._owner, file)
        except FileExistsError:
            return False
        return True

    @property
    def run(self) -> str:
        """Names this run among all."""
        return str(self._owner["run"])

    @property
    def mine(self) -> bool:
        """Whether no other run has taken over."""
        return _owner(self._path) == self._owner

    def _take_away(self, dead: dict[str, Any]) -> None:
        """Remove a dead run's lock, and no other that has come into its place meanwhile."""
        aside = self._path.with_name(f"{NAME}.{self.run}")
        with contextlib.suppress(FileNotFoundError):
            self._path.rename(aside)
            if _owner(aside) != dead:
                aside.rename(self._path)
                return
            aside.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            if self.mine:
                with contextlib.suppress(OSError):
                    os.utime(self._path)


def holds(folder: Path, run: str) -> bool:
    """Whether a run still owns the chunks in a folder."""
    return bool(_owner(folder / NAME).get("run") == run)


def wait_while_paused(folder: Path, run: str) -> None:
    """Wait, in a worker, until a run goes on.

    Raises:
        Cancelled: it no longer owns the folder, or gives no sign of life: nobody will let it go on.
    """
    beat, since = 0.0, time.monotonic()  # our own clock: that of another machine may differ
    while (folder / (_PAUSED + run)).exists():
        if not holds(folder, run):
            raise Cancelled()
        with contextlib.suppress(OSError):
            last, beat = beat, (folder / NAME).stat().st_mtime
            since = since if beat == last else time.monotonic()
        if time.monotonic() - since > _DEAD_S:
            raise Cancelled()
        time.sleep(_LOOK_S)


def _owner(path: Path) -> dict[str, Any]:
    """What a lock says; nothing where it is gone or not yet written."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _alive(path: Path, owner: dict[str, Any]) -> bool:
    """Whether a run has given a sign of life, and its process is there if it is of this machine."""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return False
    if age > _DEAD_S:
        return False
    return (
        owner.get("host") != platform.node() or not isinstance(owner.get("pid"), int) or _runs(owner["pid"])
    )


def _runs(pid: int) -> bool:
    if os.name == "nt":  # there a signal would end it; its age must do
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
