"""Threads that compute together: parts of what one has to do are taken by any of them, those of the oldest tile first.

Tiles side by side keep all cores busy, but each of them takes as long as one thread does, and with the last ones some threads have
nothing to do. With their parts shared, the first tile is there as soon as all cores can make it, and the last ones end together.
A part is computed as it would be alone, by one thread with its own number of torch's, so the bits are the same.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

P = TypeVar("P")
R = TypeVar("R")

_of_thread = threading.local()


def each(make: Callable[[P], R], parts: Sequence[P]) -> list[R]:
    """[make(part) for part in parts], shared with the team that this thread belongs to, if it does.

    Shared in inference mode only: gradients would be of another thread.

    Raises:
        what `make` raises; what is left of the parts is then not made.
    """
    team: Team | None = getattr(_of_thread, "team", None)
    if team is None or len(parts) < 2 or not torch.is_inference_mode_enabled():
        return [make(part) for part in parts]
    return team.share(make, parts)


class Team:
    """Threads that have joined it.

    Args:
        size: how many they are.
        call: asks a thread, when it has nothing else to do, to run a function; may do nothing.
    """

    def __init__(self, size: int, call: Callable[[Callable[[], None]], None]) -> None:
        self._size, self._call = size, call
        self._turns = itertools.count()
        self._works: list[_Work] = []  # those with parts that nobody has taken
        self._changed = threading.Condition()

    def join(self) -> None:
        """The calling thread belongs to this team from now on."""
        _of_thread.team = self
        self.begin()

    def begin(self) -> None:
        """The calling thread begins a tile: what it shares from now on comes after what those before it have shared or will."""
        _of_thread.turn = next(self._turns)

    def share(self, make: Callable[[P], R], parts: Sequence[P]) -> list[R]:
        """See `each`."""
        own = _Work(make, parts, _of_thread.turn)
        with self._changed:
            self._works.append(own)
            self._changed.notify_all()
        for _ in range(self._size - 1):
            self._call(self._help)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._works or not own.missing)
                if not own.missing:
                    break
            self._take_one()
        return own.results()

    def _help(self) -> None:
        """Compute one part, if there is any, and ask to be called again: a tile that waits for a thread goes first."""
        if self._take_one():
            self._call(self._help)

    def _take_one(self) -> bool:
        """Compute the next part of the oldest tile; False: there is none."""
        with self._changed:
            if not self._works:
                return False
            work = min(self._works, key=lambda work: work.turn)
            number = work.left.popleft()
            if not work.left:
                self._works.remove(work)
        try:
            with torch.inference_mode():
                found = work.make(work.parts[number])
        except BaseException as error:
            with self._changed:
                work.error = work.error or error
                work.missing -= len(work.left) + 1
                if work.left:
                    self._works.remove(work)
                    work.left.clear()
                self._changed.notify_all()
        else:
            with self._changed:
                work.found[number] = found
                work.missing -= 1
                self._changed.notify_all()
        finally:
            del work  # an error leads to this frame, and the work to the error: a circle that would hold all its tensors
        return True


class _Work:
    """What one thread has to do, in parts.

    Attributes:
        turn: of its tile.
        left: numbers of the parts that nobody has taken; missing: how many are not done.
    """

    def __init__(self, make: Callable[[Any], Any], parts: Sequence[Any], turn: int) -> None:
        self.make, self.parts, self.turn = make, parts, turn
        self.left = deque(range(len(parts)))
        self.missing = len(parts)
        self.found: list[Any] = [None] * len(parts)
        self.error: BaseException | None = None

    def results(self) -> list[Any]:
        if self.error is None:
            return self.found
        error, self.error = self.error, None
        try:
            raise error
        finally:
            del error
