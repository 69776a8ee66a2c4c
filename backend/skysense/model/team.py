"""Threads that compute together: parts of what one has to do are taken by any of them, those of the oldest work first.

Tiles side by side keep all cores busy, but each of them takes as long as one thread does, and with the last ones some threads have
nothing to do. With their parts shared, the first tile is there as soon as all cores can make it, and the last ones end together.
A part is computed as it would be alone, by one thread with its own number of torch's, so the bits are the same.
"""

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
        call: asks threads that have nothing to do to run a function; may do nothing.
    """

    def __init__(self, call: Callable[[Callable[[], None]], None]) -> None:
        self._call = call
        self._works = deque[_Work]()  # those with parts that nobody has taken
        self._changed = threading.Condition()

    def join(self) -> None:
        """The calling thread belongs to this team from now on."""
        _of_thread.team = self

    def share(self, make: Callable[[P], R], parts: Sequence[P]) -> list[R]:
        """See `each`."""
        own = _Work(make, parts)
        with self._changed:
            self._works.append(own)
            self._changed.notify_all()
        self._call(self.help)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._works or not own.missing)
                if not own.missing:
                    break
            self._take_one()
        return own.results()

    def help(self) -> None:
        """Compute parts as long as there are any."""
        while self._take_one():
            pass

    def _take_one(self) -> bool:
        """Compute the next part of the oldest work; False: there is none."""
        with self._changed:
            if not self._works:
                return False
            work = self._works[0]
            number = work.left.popleft()
            if not work.left:
                self._works.popleft()
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
        left: numbers of the parts that nobody has taken; missing: how many are not done.
    """

    def __init__(self, make: Callable[[Any], Any], parts: Sequence[Any]) -> None:
        self.make, self.parts = make, parts
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
