"""Linear maps whose weights lie in the layout that the CPU's matrix kernel wants.

A matrix product packs its right side anew at each call; with few rows, as in the Swin's late stages, that takes up to a
fifth of the time, and on some processors oneDNN's kernel is faster than torch's usual one by as much with any number of rows.
oneDNN can keep the packed copy, at the price of the weight's memory once more, and applies GELU or adds the residual while the
result is still in the cache.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from skysense.model.attention import WeightCache, autocasts

#: Rows that the layout is chosen for. One number for all calls, so that results do not depend on which came first.
_ROWS = 256
_available = hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and torch.backends.mkldnn.is_available()
_dtypes: tuple[torch.dtype, ...] = (torch.float32,)
if _available and torch.ops.mkldnn._is_mkldnn_bf16_supported():
    _dtypes = (torch.float32, torch.bfloat16)


def packed_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cache: WeightCache,
    activation: Literal["none", "gelu"] = "none",
    residual: Tensor | None = None,
    part: slice = slice(None),
) -> Tensor:
    """`activation(x @ weight.T + bias)`, or `residual + x @ weight.T + bias`: (..., I) -> (..., O).

    Packs on a CPU while gradients are off.

    Args:
        cache: of this weight, or this part of it, alone; holds the packed copy.
        activation: "gelu" is the exact one (erf); not with `residual`.
        residual: (..., O), contiguous.
        part: the outputs that are asked, of a weight that is several maps in one.
    """
    if (
        _available
        and x.device.type == "cpu"
        and x.dtype in _dtypes
        and not torch.is_grad_enabled()
        and not autocasts(x.device)
        and not torch.compiler.is_compiling()
    ):
        packed = cache.get(
            [weight], lambda: torch.ops.mkldnn._reorder_linear_weight(weight.detach()[part], _ROWS)
        )
        out: Tensor
        bias = None if bias is None else bias[part]
        if residual is not None:
            out = torch.ops.mkldnn._linear_pointwise.binary(x, residual, packed, bias, "add")
        else:
            out = torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], "none")
        return out
    out = F.linear(x, weight[part], None if bias is None else bias[part])
    if residual is not None:
        return residual + out
    return F.gelu(out) if activation == "gelu" else out
