"""Scaled dot-product attention, fused and plain, and tensors derived once per set of weights.

Shapes: N batch, H heads, Q queries, K keys, E head dim.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.device import has_bfloat16

#: Up to this many keys, two batched products beat torch's fused kernel on a CPU (a fifth less time for the
#: whole fusion).
SHORT = 32
#: Up to this many keys, on CUDA, the memory-efficient kernel takes half of the flash kernel's time, whose blocks are larger.
_SHORT_ON_CUDA = 64

# cuDNN's kernels, which torch prefers on the newest GPUs, are slower for our short sequences (by half, with a mask by four
# fifths), and each thread waits a tenth of a second for every new shape.
torch.backends.cuda.enable_cudnn_sdp(False)


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
    keys, channels = k_NHKE.shape[-2:]
    # GPUs without bfloat16, for which nothing is compiled, have no such kernel for it; torch takes another one then.
    if (
        q_NHQE.device.type == "cuda"
        and mask is None
        and keys <= _SHORT_ON_CUDA
        and channels % 8 == 0
        and (q_NHQE.dtype != torch.bfloat16 or torch.compiler.is_compiling() or has_bfloat16(q_NHQE.device))
    ):
        out: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
            q_NHQE, k_NHKE, v_NHKE, None, torch.is_grad_enabled(), scale=scale
        )[0]
        return out
    short = q_NHQE.device.type == "cpu" and keys <= SHORT and q_NHQE.shape[-2] > 1
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


def autocasts(device: torch.device) -> bool:
    """Whether torch chooses the precision by itself: paths of our own then leave it to torch's operators."""
    return torch.is_autocast_enabled(device.type)


class WeightCache:
    """Keeps one result that depends on weights only, until one of these weights changes.

    Used only in evaluation mode while gradients are off: a result with a graph behind it belongs to one step. A
    change is noticed by the parameter's identity, storage, dtype, device and in-place version. Fused optimizers and
    writes through `.data` escape the last one, so nothing is kept while the module trains: modules call `reset` when
    they change between training and evaluation.
    """

    def __init__(self, keep: bool = False) -> None:
        self._keep = keep
        self._lock = threading.Lock()  # several threads may compute tiles with one model
        self._key: list[tuple[Tensor, tuple[Any, ...]]] = []
        self._extra: Any = None
        self._value: Any = None

    def reset(self, keep: bool) -> None:
        """Forget the kept result, and from now on keep results or not."""
        self._keep, self._key, self._value = keep, [], None

    def get(self, weights: Sequence[Tensor], compute: Callable[[], Any], extra: Any = None) -> Any:
        """`compute()`, or what it gave last time for the same `weights` and `extra`."""
        if not self._keep or torch.is_grad_enabled():
            return compute()
        # A compiled region is traced after a first call, for weights that stay.
        if torch.compiler.is_compiling():
            return self._value if self._value is not None and self._extra == extra else compute()
        if any(weight.is_inference() for weight in weights) or autocasts(weights[0].device):
            return compute()
        key = [(w, (w.data_ptr(), w._version, w.dtype, w.device)) for w in weights]
        with self._lock:
            same = self._extra == extra and len(key) == len(self._key)
            if not same or any(
                new[0] is not old[0] or new[1] != old[1] for new, old in zip(key, self._key, strict=True)
            ):
                self._value = compute()
                self._key, self._extra = key, extra
            return self._value

    def __deepcopy__(self, memo: dict[int, Any]) -> "WeightCache":
        return WeightCache(self._keep)

    def __reduce__(self) -> tuple[type["WeightCache"], tuple[bool]]:
        return WeightCache, (self._keep,)
