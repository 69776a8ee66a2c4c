"""What a device computes in where nothing is asked for."""

from types import SimpleNamespace

import pytest
import torch
from skysense.model.device import usual_precision


def test_the_device_that_is_used_decides_not_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    majors = {0: 9, 1: 7}  # an H100 and a T4: the second has no bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    def properties(device: torch.device | int) -> SimpleNamespace:
        return SimpleNamespace(major=majors[device if isinstance(device, int) else device.index])

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    assert usual_precision(torch.device("cuda", 0)) == "bfloat16"
    assert usual_precision(torch.device("cuda", 1)) == "float32"
    assert usual_precision(torch.device("cpu")) == "float32"
