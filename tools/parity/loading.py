"""Weights into a module: strictly, but for what a variant does without."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from skysense.model.attention import set_fast
from torch import Tensor, nn

from parity.fixture import FixtureError

Module = TypeVar("Module", bound=nn.Module)

#: Buffers that follow from the window size; the released files leave them out.
_REBUILT = re.compile(r"relative_(coords_table|position_index)$")


def ready(
    module: Module,
    weights: Mapping[str, Tensor],
    dtype: torch.dtype,
    fast: bool,
    *,
    unused: str = "(?!)",
    absent: str = "(?!)",
) -> Module:
    """The module with these weights, in evaluation mode, in one precision and on one path.

    Args:
        unused: pattern at the start of keys in the file that this variant has no use for.
        absent: pattern at the start of keys that the file may lack.

    Raises:
        FixtureError: another tensor is missing, left over or misshapen.
    """
    own: dict[str, Any] = module.state_dict()
    given = {key: value for key, value in weights.items() if not _REBUILT.search(key)}
    missing = [key for key in own if key not in given and not re.match(absent, key)]
    left = [key for key in given if key not in own and not re.match(unused, key)]
    if missing:
        raise FixtureError(f"the weights lack {_few(missing)}")
    if left:
        raise FixtureError(f"does not know the weight {_few(left)}")
    for key in own.keys() & given.keys():
        if own[key].shape != given[key].shape:
            raise FixtureError(f"the weight {key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}")
    module.load_state_dict({key: value for key, value in given.items() if key in own}, strict=False)
    set_fast(module, fast)
    return module.to(dtype).eval()


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
