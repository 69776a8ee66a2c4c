"""One step of a pretraining: from a batch of samples to new weights of student, teacher and prototypes.

What a step does depends on (settings, step, samples, weights) alone, so that a resumed run goes on as an undisturbed
one, to the bit on one device and number of processes. Source: reference specification 2.1, 2.2.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from skysense.errors import InputError
from skysense.model.skysense import SkySense
from skysense.pretrain.collate import Group, collate
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.flops import StepFlops
from skysense.pretrain.objective import Objective
from skysense.pretrain.objective.heads import Heads
from skysense.pretrain.optimiser import clip, make_optimiser, set_rates
from skysense.pretrain.parallel import all_sum, gather_items, rank
from skysense.pretrain.recompute import recompute_layers
from skysense.pretrain.schedule import rates
from skysense.pretrain.shard import Sharded, whole
from skysense.pretrain.state import optimiser_tensors
from skysense.pretrain.teacher import Teacher
from skysense.pretrain.views import Sample

#: First words of the seeds of what a step draws; the sampler's and loader's are 1 to 3.
_DROP_PATH, _HEADS = 4, 5


class NotFinite(InputError):
    """A step has a loss or gradient that is no number; weights are as they were before it."""


@dataclass(frozen=True)
class Report:
    """Of one step, over all processes.

    Attributes:
        loss, terms: the total, and its terms by name; with several micro-batches their means.
        gradient_norm: before clipping.
        stats: see `Objective.stats`.
        flops: operations of the models and heads, see `flops`.
    """

    loss: float
    terms: dict[str, float]
    gradient_norm: float
    stats: dict[str, float]
    flops: int

    @property
    def finite(self) -> bool:
        """Whether the step may be taken."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


class Trainer:
    """Student, teacher, objective and optimiser of this process.

    Args:
        model: the student, with the weights to begin with; it comes to the device.
        config: the run's.
    """

    def __init__(self, model: SkySense, config: PretrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.model = model.to(device).train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(_HEADS, config.seed))
            self.objective = Objective(model.config, config)
        self.objective.to(device, next(model.parameters()).dtype)
        self.teacher = Teacher(self.model, self.objective.heads)
        self._flops = StepFlops(model.config, self.objective.heads, cast(Heads, self.teacher.heads))
        if config.checkpoint_activations:
            recompute_layers(self.model)
        self._student = Sharded([self.model, self.objective])
        self._teacher = Sharded([self.teacher])
        self._optimiser = make_optimiser([self.model, self.objective])

    def step(self, step: int, samples: Sequence[Sample]) -> Report:
        """Do step number `step`, from 0; all processes call it together, each with its samples of the batch.

        With `config.accumulate` > 1 the samples are dealt to micro-batches, and losses are means over those: each
        balances its own targets and counts its own rows.

        Raises:
            NotFinite: names the scenes; nothing was changed.
        """
        now = rates(step, self.config)
        torch.manual_seed(_seed(_DROP_PATH, self.config.seed, step, rank()))
        set_rates(self._optimiser, now)
        self._optimiser.zero_grad(set_to_none=True)
        shares: dict[str, Tensor] = {}
        seen: list[Group] = []
        with whole(self._student, self._teacher):
            for number in range(self.config.accumulate):
                groups = collate(samples[number :: self.config.accumulate])
                seen += groups
                losses = self._losses(step, groups)
                total = losses["total"] / self.config.accumulate
                if total.requires_grad:  # where no process has a row there is nothing to learn
                    total.backward()  # type: ignore[no-untyped-call]
                for name, loss in losses.items():
                    shares[name] = shares.get(name, 0) + loss.detach() / self.config.accumulate
            self._student.reduce_gradients()
        values = all_sum(torch.stack(list(shares.values()))).tolist()
        terms = dict(zip(shares, values, strict=True))
        norm = clip([self.model, self.objective], self.config.clip)
        flops = int(all_sum(torch.tensor(self._flops.of(seen), dtype=torch.int64)))
        report = Report(terms.pop("total"), terms, norm, dict(self.objective.stats), flops)
        if not report.finite:  # in one process and so in all
            raise self._not_finite(step, samples)
        self._optimiser.step()
        self.teacher.update(self.model, self.objective.heads, now.momentum)
        self.objective.update_prototypes(self.model)
        return replace(report, stats=dict(self.objective.stats))

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint holds: the very tensors, by name. Buffers of the teacher are the student's."""
        named: dict[str, Tensor] = {}
        for prefix, module in (("student", self.model), ("objective", self.objective)):
            named |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
        named |= {f"teacher.{name}": tensor for name, tensor in self.teacher.named_parameters()}
        modules = {"student": self.model, "objective": self.objective}
        return named | optimiser_tensors(self._optimiser, modules)

    def loaded(self) -> None:
        """Tell that `tensors` were given other values."""
        self.model.train()
        self.teacher.eval()

    def teacher_whole(self) -> Any:
        """A context in which the teacher's weights have their full shape; all processes enter it together."""
        return self._teacher.whole()

    def _losses(self, step: int, groups: Sequence[Group]) -> dict[str, Tensor]:
        autocast = torch.autocast(self.device.type, torch.bfloat16) if self.config.bfloat16 else nullcontext()
        now = rates(step, self.config)
        with autocast:
            return self.objective.losses(
                self.model,
                self.teacher,
                [group.to(self.device) for group in groups],
                teacher_temperature=now.teacher_temperature,
                seed=(self.config.seed << 32) + step,
            )

    def _not_finite(self, step: int, samples: Sequence[Sample]) -> NotFinite:
        """The error, with the scenes whose own features are no numbers; all of the step's where each is well by itself."""
        self._optimiser.zero_grad(set_to_none=True)
        self.objective.forget()
        with torch.no_grad(), whole(self._student, self._teacher):
            guilty = gather_items([sample.scene for sample in samples if not self._is_finite(sample)])
        named = sorted(set(guilty or gather_items([sample.scene for sample in samples])))
        return NotFinite(
            f"the loss of step {step + 1} is not a number",
            ", ".join(named),
            "Look at this imagery: leave it out and resume, or begin again with a lower learning rate",
        )

    def _is_finite(self, sample: Sample) -> bool:
        """Whether the student's features of all views of a sample are numbers."""
        for view in collate([sample])[0].to(self.device).views:
            found = self.model(view, series_maps=True)
            maps = [x for x in (found.fused, found.s2, found.s1, *(found.hr or ())) if x is not None]
            if not all(bool(x.isfinite().all()) for x in maps):
                return False
        return True


def _seed(*words: int) -> int:
    return int(np.random.default_rng(words).integers(2**63))
