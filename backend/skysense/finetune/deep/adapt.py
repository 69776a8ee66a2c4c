"""Learning by gradient from a scene's labels: the trainings, their order, and how they go on after an interruption.

1. *When to stop.* Where polygons can be held out, one training without the first part of them looks at that part every few
   steps and notes when what would map did best there. No step at all is a possible answer.
2. *Judging.* The weights of the final model have seen every polygon, so no polygon can judge them. For every other part one
   training of just so many steps does without it, and the report judges what it learned on that part.
   (The first part has also chosen the number of steps: one number, from a few.)
3. *The model.* A training of just so many steps on all polygons.

Where nothing can be held out only the last one is done, of a fixed number of steps. All begin with the same weights.
The state lies in `<model>.parts/` until the model is written, one line a step stays in `<model>.losses.jsonl`.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skysense.errors import Cancelled, InputError, StorageError
from skysense.finetune.deep.kept import keep, kept
from skysense.finetune.deep.pixels import Pixels
from skysense.finetune.deep.plan import Plan
from skysense.jobs.control import JobControl
from skysense.pretrain.journal import Journal, read_journal
from skysense.pretrain.state import load, newest, save, step_of

#: Steps of which the first training's speed is told; the very first is slower.
_MEASURED = (2, 6)


class Learner(Protocol):
    """What a training trains.

    Attributes:
        views: that a step sees.
    """

    views: int

    def step(self, step: int) -> tuple[float, float]:
        """Do step number `step`, from 0; the loss before it, and the learning rate."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything that learns or remembers: the very tensors, by name, for `pretrain.state`."""

    def learned(self) -> dict[str, Tensor]:
        """For the model file."""

    def held_out_loss(self, polygons: NDArray[np.int64]) -> float:
        """What `learned` is worth on polygons that it does not learn from: lower is better."""


#: Makes the learner of a training from the places of the pixels that it learns from, and the training's number.
Begin = Callable[[NDArray[np.int64], int], Learner]


@dataclass(frozen=True)
class Adapted:
    """What came of it.

    Attributes:
        final: tensors for the model file.
        folds: the polygons of each part, and tensors that have not seen them; empty where nothing can be held out.
        steps: of each training.
    """

    final: dict[str, Tensor]
    folds: tuple[tuple[NDArray[np.int64], dict[str, Tensor]], ...]
    steps: int


class Adapting:
    """The trainings of one model file.

    Args:
        begin: makes what learns; it begins the same each time.
        doing: what is done, for people: "Adapting the model".
        plan: its settings; pixels: what is learned from.
        folder: where the state lies, from `inference.journal.open_journal`.
        log: the file of the losses.
    """

    def __init__(
        self,
        begin: Begin,
        doing: str,
        plan: Plan,
        pixels: Pixels,
        folder: Path,
        log: Path,
        control: JobControl,
    ) -> None:
        self._begin, self._doing, self._plan, self._pixels = begin, doing, plan, pixels
        self._folder, self._log, self._control = folder, log, control
        self._before = 0  # steps of the trainings that are finished
        self._whole = 0  # steps of all, as far as is known
        self._mark = time.monotonic()

    def adapt(self, held_out: list[NDArray[np.int64]]) -> Adapted:
        """Do all trainings that are not done yet.

        Args:
            held_out: from `pixels.held_out_polygons`.

        Raises:
            StorageError: the state cannot be written; Cancelled: it is written.
        """
        everything = np.arange(len(self._pixels.target))
        steps = self._plan.rates.steps if held_out else self._plan.untold
        self._whole = steps * (1 + len(held_out))
        folds: list[tuple[NDArray[np.int64], dict[str, Tensor]]] = []
        for number, polygons in enumerate(held_out):
            places = self._pixels.without(polygons)
            look = polygons if number == 0 else None
            tensors, done = self._train(f"part-{number + 1}", number, places, steps, look)
            if number == 0:
                steps = done
                self._whole = self._before + steps * len(held_out)
                if not steps:
                    return Adapted({}, (), 0)
            folds.append((polygons, tensors))
        final, _ = self._train("model", len(held_out), everything, steps, None)
        return Adapted(final, tuple(folds), steps)

    def _train(
        self,
        name: str,
        number: int,
        places: NDArray[np.int64],
        steps: int,
        held_out: NDArray[np.int64] | None,
    ) -> tuple[dict[str, Tensor], int]:
        """One training; its tensors, and the steps that led to them: fewer than `steps` where held-out polygons said so."""
        finished = kept(self._folder / f"{name}.safetensors")
        if finished is not None:
            self._before += self._logged(name)
            return finished
        training = self._begin(places, number)
        checkpoints, best = self._folder / name, self._folder / f"{name}.best.safetensors"
        looks: list[list[float]] = []  # steps and loss of each look at held-out polygons
        done = 0
        try:
            checkpoint = newest(checkpoints)
            # What was best so far may be lost, and only these steps lead to it.
            lost = checkpoint is not None and held_out is not None and kept(best) is None
        except InputError:  # the only one is damaged
            lost = True
        if lost:  # the part begins anew
            shutil.rmtree(checkpoints)
            checkpoint = None
        if checkpoint is not None:
            _, extra = load(checkpoint, training.tensors())
            done, looks = step_of(checkpoint), extra["looks"]
        journal = Journal(self._log, keep=self._before + done)
        began: tuple[int, float] | None = None
        try:
            while True:
                if (
                    held_out is not None
                    and done % self._plan.every == 0
                    and len(looks) <= done // self._plan.every
                ):
                    loss = training.held_out_loss(held_out)
                    if not looks or loss < min(value for _, value in looks):
                        keep(best, training.learned(), done)
                    looks.append([done, loss])
                    self._save(checkpoints, done, training, looks)
                if done == steps or self._enough(looks):
                    break
                loss, lr = training.step(done)
                done += 1
                self._tell(journal, name, done, loss, lr, looks, training.views)
                began = self._tell_cost(done, began, number)
                if done % self._plan.every == 0 and held_out is None:
                    self._save(checkpoints, done, training, looks)
                self._progress(done, checkpoints, training, looks)
        finally:
            journal.close()
        self._before += done
        learned = kept(best) if held_out is not None else (training.learned(), done)
        if learned is None:
            raise StorageError(
                "is gone or damaged", str(best), "Train again with --resume, which begins this part anew"
            )
        tensors, found = learned
        keep(self._folder / f"{name}.safetensors", tensors, found)
        return tensors, found

    def _enough(self, looks: list[list[float]]) -> bool:
        """Whether the last looks have all seen no gain."""
        best = int(np.argmin([loss for _, loss in looks])) if looks else 0
        return len(looks) - 1 - best >= self._plan.patience

    def _logged(self, name: str) -> int:
        return sum(record.get("training") == name for record in read_journal(self._log))

    def _save(self, folder: Path, done: int, training: Learner, looks: list[list[float]]) -> None:
        save(folder, done, training.tensors(), {"looks": looks}, keep=1)

    def _tell(
        self,
        journal: Journal,
        name: str,
        done: int,
        loss: float,
        lr: float,
        looks: list[list[float]],
        views: int,
    ) -> None:
        terms = {"held out": looks[-1][1]} if looks else {}
        record: dict[str, Any] = {
            "step": self._before + done,
            "training": name,
            "loss": loss,
            "lr": lr,
            "terms": terms,
        }
        journal.write(record)
        now = time.monotonic()
        speed, self._mark = views / (now - self._mark), now
        self._control.metrics(self._before + done, loss, terms, lr=lr, samples_per_s=speed)

    def _tell_cost(self, done: int, began: tuple[int, float] | None, number: int) -> tuple[int, float] | None:
        """After the first steps: how long all of it takes at most."""
        if number or done > _MEASURED[1]:
            return began
        if began is None:
            return done, time.monotonic()
        first, at = began
        if done == _MEASURED[1] and done > first:
            minutes = (time.monotonic() - at) / (done - first) * self._whole / 60
            self._control.note(
                f"{self._doing} takes up to {max(1, round(minutes))} minutes at this speed: {self._whole} steps at most, to "
                "find out when to stop, to judge the model on polygons that it has not seen, and to train it on all."
            )
        return began

    def _progress(self, done: int, folder: Path, training: Learner, looks: list[list[float]]) -> None:
        share = (self._before + done) / max(self._whole, 1)
        try:
            self._control.progress(
                min(share, 1.0), f"{self._doing}, step {self._before + done} of {self._whole}"
            )
        except Cancelled:
            self._save(folder, done, training, looks)
            raise
