"""What a training by gradient does with the state of an interrupted one, whatever it is that learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skysense.errors import Cancelled, StorageError
from skysense.finetune.deep.adapt import Adapting
from skysense.finetune.deep.kept import keep, kept
from skysense.finetune.deep.pixels import Pixels
from skysense.finetune.deep.plan import PLANS
from skysense.jobs.control import JobControl

NOTHING = np.zeros(4, np.int64)
PIXELS = Pixels((), NOTHING, NOTHING, NOTHING, np.array([0, 1, 0, 1]), np.arange(4), np.array([1, 2]))
PLAN = replace(PLANS["lora"], rates=replace(PLANS["lora"].rates, steps=6), every=2)


class Counter:
    """Learns to count its steps; what it counts is best at four."""

    views = 1

    def __init__(self, stop=None):
        self.count, self._stop = torch.zeros(1), stop
        self.done = 0

    def step(self, step):
        if self.done == self._stop:
            raise Cancelled
        self.done += 1
        self.count += 1
        return float(self.count), 0.1

    def tensors(self):
        return {"count": self.count}

    def learned(self):
        return {"count": self.count.clone()}

    def held_out_loss(self, polygons):
        return abs(float(self.count) - 4)


def adapting(folder, made, stop=None):
    folder.mkdir(exist_ok=True)

    def begin(places, number):
        made.append(Counter(stop))
        return made[-1]

    return Adapting(
        begin, "Counting", PLAN, PIXELS, folder, folder / "losses.jsonl", JobControl(lambda e: None)
    )


HELD_OUT = [np.array([0, 1]), np.array([2, 3])]


def interrupted(folder):
    """A state after three steps of the first part."""
    with pytest.raises(Cancelled):
        adapting(folder, [], stop=3).adapt(HELD_OUT)
    return folder / "part-1.best.safetensors"


@pytest.mark.parametrize("damage", [None, "cut", "gone", "checkpoint"])
def test_a_part_whose_best_is_lost_begins_anew(tmp_path, damage):
    folder = tmp_path / "parts"
    best = interrupted(folder)
    if damage == "cut":
        best.write_bytes(best.read_bytes()[:20])
    elif damage == "gone":
        best.unlink()
    elif damage == "checkpoint":
        next((folder / "part-1").glob("step-*/state.json")).write_text("{")
    made = []
    found = adapting(folder, made).adapt(HELD_OUT)
    assert found.steps == 4 and float(found.final["count"]) == 4
    # From the look after two steps on, or from the start.
    assert made[0].done == (4 if damage is None else 6) and float(made[0].count) == 6
    assert [float(tensors["count"]) for _, tensors in found.folds] == [4, 4]
    assert len((folder / "losses.jsonl").read_text().splitlines()) == 6 + 4 + 4


def test_what_is_lost_during_the_training_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("skysense.finetune.deep.adapt.kept", lambda path: None)
    with pytest.raises(StorageError, match=r"is gone or damaged.*--resume"):
        adapting(tmp_path, []).adapt(HELD_OUT)


def test_what_was_kept_is_read_back_and_files_of_another_kind_are_none(tmp_path):
    from safetensors.torch import save_file

    keep(tmp_path / "a", {"count": torch.ones(2)}, 5)
    tensors, steps = kept(tmp_path / "a")
    assert steps == 5 and tensors["count"].tolist() == [1, 1]
    save_file({"count": torch.ones(2)}, tmp_path / "b")  # without a header of ours
    assert kept(tmp_path / "b") is None and kept(tmp_path / "c") is None
