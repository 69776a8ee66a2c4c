"""Date-specific temporal encoding (`ctpe`): one learned vector per day of the year.

Source: reference specification 1.6. Days are 0-based (1 January is 0); `UNKNOWN_DAY` means that no date is
known.
"""

import torch
from torch import Tensor

from skysense.model.config import DateEncoding
from skysense.scene.sensors import Modality

DAYS = 365
UNKNOWN_DAY = -1


def day_index(day: Tensor) -> Tensor:
    """Day of the year as a row of `ctpe`: the last day of a leap year (365) shares the row before it."""
    return day.clamp(max=DAYS - 1)


def date_encoding(ctpe: Tensor, day: Tensor) -> Tensor:
    """Encodings of days.

    Args:
        ctpe: (1, 365, D).
        day: int64 of any shape, -1 (unknown) to 365.

    Returns:
        day.shape + (D,); zeros where the day is unknown.
    """
    rows = ctpe[0][day_index(day).clamp(min=0)]
    return torch.where((day == UNKNOWN_DAY)[..., None], torch.zeros_like(rows), rows)


def is_dated(modality: Modality, policy: DateEncoding) -> bool:
    """Whether tokens of this modality get an encoding under this policy."""
    return policy == "all" or (policy == "s2" and modality == "s2")
