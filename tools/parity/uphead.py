"""UPHead: plain as it is; fast as one map with the projection that follows it in the fusion."""

import torch
import torch.nn.functional as F
from skysense.model.uphead import UPHead
from torch import Tensor

from parity.arguments import need, take_known
from parity.compare import Comparison
from parity.fixture import Case
from parity.loading import ready
from parity.naming import input_suffixes

TOLERANCE = {"float64": 2e-6, "float32": 1e-5}
PATHS = ("plain", "fast")


def check(case: Case, comparison: Comparison, dtype: torch.dtype, fast: bool) -> None:
    """Run a case; names: `in[_{H}x{W}]`, `out[_{H}x{W}]`."""
    arguments = take_known(case.config, {"in_dim", "out_dim", "up_scale"})
    need(arguments, "in_dim", "out_dim")
    head = ready(UPHead(**arguments), case.weights(), dtype, fast)
    for suffix in input_suffixes(comparison.names):
        x, expected = comparison.input(f"in{suffix}"), comparison.array(f"out{suffix}")
        if fast:
            weight, bias = projection(arguments["out_dim"])
            actual = folded(head, x, weight.to(dtype), bias.to(dtype))
            expected = F.linear(expected.double().permute(0, 2, 3, 1), weight, bias)
            comparison.differ(f"out{suffix}", actual, expected)
        else:
            comparison.close(f"out{suffix}", head(x))


def projection(dim: int) -> tuple[Tensor, Tensor]:
    """A seeded linear map dim -> max(1, dim / 2), float64, with orthonormal rows: it makes no error grow."""
    generator = torch.Generator().manual_seed(0)
    rows = max(1, dim // 2)
    square = torch.randn(dim, rows, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(square)[0].T, torch.randn(rows, generator=generator, dtype=torch.float64)


def folded(head: UPHead, x: Tensor, weight_DO: Tensor, bias_D: Tensor) -> Tensor:
    """UPHead and projection in one map per patch: (N, I, h, w) -> (N, r h, r w, D)."""
    r, dim = head.up_scale, len(bias_D)
    out = F.linear(x.permute(0, 2, 3, 1), *head.fold(weight_DO, bias_D)).unflatten(-1, (r, r, dim))
    return out.transpose(2, 3).flatten(3, 4).flatten(1, 2)
