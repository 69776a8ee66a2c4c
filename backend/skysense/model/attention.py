"""Scaled dot-product attention, fused and plain, and tensors derived once per set of weights.

Shapes: N batch, H heads, Q queries, K keys, E head dim.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Up to this many keys, two batched products beat torch's fused kernel on a CPU (a fifth less time for the
#: whole fusion).
SHORT = 32


def attend(
    q_NHQE: Tensor,
    k_NHKE: Tensor,
    v_NHKE: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float | None = None,
) -> Tensor:
    """softmax(q k^T * scale + mask) v, (N, H, Q, E).

    Args:
        mask: broadcastable to (N, H, Q, K): bool (True takes part) or a float bias that is added.
        scale: default 1 / sqrt(E).

    torch's fused kernel, except for short sequences on a CPU.
    """
    short = q_NHQE.device.type == "cpu" and k_NHKE.shape[-2] <= SHORT and q_NHQE.shape[-2] > 1
    if not short:
        return F.scaled_dot_product_attention(q_NHQE, k_NHKE, v_NHKE, attn_mask=mask, scale=scale)
    scores = (q_NHQE @ k_NHKE.transpose(-1, -2)) * (q_NHQE.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1) @ v_NHKE


def key_mask(valid_NK: Tensor) -> Tensor:
    """(N, K) bool, which keys count -> (N, 1, 1, K) mask for `attend`.

    A row without any valid key keeps all of them: its output is meaningless but finite.
    """
    none_valid = ~valid_NK.any(-1, keepdim=True)
    return (valid_NK | none_valid)[:, None, None, :]


def set_fast(module: nn.Module, fast: bool) -> None:
    """Choose the fast (True) or the spelled-out (False) path in every module below `module` that has both."""
    for child in module.modules():
        if hasattr(child, "fast"):
            setattr(child, "fast", fast)  # noqa: B010 (modules declare it in several classes)


class WeightCache:
    """Keeps one result that depends on weights only, until one of these weights changes.

    Used only while gradients are off: a result with a graph behind it belongs to one step. A change is
    noticed by the parameter's identity, storage, dtype, device and in-place version; writes through `.data`
    escape the last one, so modules also call `clear` when they change between training and evaluation.
    """

    def __init__(self) -> None:
        self._key: list[tuple[Tensor, tuple[Any, ...]]] = []
        self._value: Any = None

    def clear(self) -> None:
        """Forget the kept result."""
        self._key, self._value = [], None

    def get(self, weights: Sequence[Tensor], compute: Callable[[], Any], extra: Any = None) -> Any:
        """`compute()`, or what it gave last time for the same `weights` and `extra`."""
        if torch.compiler.is_compiling() and self._value is not None:
            return self._value  # a compiled region is traced after a first call, for weights that stay
        if torch.is_grad_enabled() or any(weight.is_inference() for weight in weights):
            return compute()
        key = [(w, (w.data_ptr(), w._version, w.dtype, w.device, extra)) for w in weights]
        same = len(key) == len(self._key) and all(
            new[0] is old[0] and new[1] == old[1] for new, old in zip(key, self._key, strict=True)
        )
        if not same:
            self._value = compute()
            self._key = key
        return self._value

    def __deepcopy__(self, memo: dict[int, Any]) -> "WeightCache":
        return WeightCache()

    def __reduce__(self) -> tuple[type["WeightCache"], tuple[()]]:
        return WeightCache, ()
