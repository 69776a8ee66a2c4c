"""What changes with the step: rates as pure functions of the step, so that a resumed run needs no memory of them.

Source: DINO (Caron et al. 2021): cosine schedules for learning rate, weight decay and EMA momentum, a linear
rise of the teacher's temperature.
"""

import math
from dataclasses import dataclass

from skysense.pretrain.config import PretrainConfig


@dataclass(frozen=True)
class Rates:
    """Of one step.

    Attributes:
        lr: learning rate.
        weight_decay: of the weights that decay.
        momentum: of the teacher, 1 = it stays as it is.
        teacher_temperature: sharpens the teacher's output.
    """

    lr: float
    weight_decay: float
    momentum: float
    teacher_temperature: float


def rates(step: int, config: PretrainConfig) -> Rates:
    """The rates of a step, counted from 0; from `config.steps` on they stay at their end."""
    last = config.steps - 1
    warm = round(config.warmup * config.steps)
    if step < warm:
        lr = config.lr * (step + 1) / warm
    else:
        lr = cosine(config.lr, config.lr_end, _share(step - warm, last - warm))
    done = _share(step, last)
    start, end = config.teacher_temperature_start, config.teacher_temperature
    return Rates(
        lr=lr,
        weight_decay=cosine(config.weight_decay, config.weight_decay_end, done),
        momentum=cosine(config.teacher_momentum, 1.0, done),
        teacher_temperature=end if step >= warm else start + (end - start) * step / warm,
    )


def cosine(start: float, end: float, share: float) -> float:
    """From `start` at 0 to `end` at 1 along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _share(done: int, whole: int) -> float:
    return min(done / whole, 1.0) if whole > 0 else 0.0
