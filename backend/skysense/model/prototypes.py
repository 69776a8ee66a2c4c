"""Geo-context equations as plain functions: attention to prototypes, Sinkhorn assignment, prototype update.

Shapes: S locations (any leading axes for attention), P prototypes, D dim. Source: reference specification 1.7
and 2.2. The paper fixes the attention, the cosine cost and both update equations; epsilon, iterations and
normalisation of Sinkhorn are ours.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def geo_attention(features_SD: Tensor, prototypes_PD: Tensor) -> Tensor:
    """Weights softmax(F P^T / sqrt D), (..., S, P)."""
    return (features_SD @ prototypes_PD.mT * features_SD.shape[-1] ** -0.5).softmax(-1)


def geo_context(features_SD: Tensor, prototypes_PD: Tensor) -> Tensor:
    """F_fus = concat(F, softmax(F P^T / sqrt D) P), (..., S, 2D)."""
    return torch.cat((features_SD, geo_attention(features_SD, prototypes_PD) @ prototypes_PD), -1)


def cosine_scores(features_SD: Tensor, prototypes_PD: Tensor) -> Tensor:
    """M, (S, P): cosine of every feature with every prototype."""
    return F.normalize(features_SD, dim=-1) @ F.normalize(prototypes_PD, dim=-1).mT


def sinkhorn(
    scores_SP: Tensor,
    *,
    epsilon: float = 0.05,
    iterations: int = 3,
    valid_S: Tensor | None = None,
    total: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Soft assignment of locations to prototypes, (..., S, P): about equal shares per prototype, rows sum to 1.

    Each iteration scales prototypes (columns) and then locations (rows) to equal mass (Cuturi 2013); leading axes
    are separate problems.

    Args:
        scores_SP: cosines, so at most 1.
        valid_S: (..., S) bool, locations that count; rows of the others are 0. None: all.
        total: sums a tensor over the processes that hold further locations. None: these are all.
    """
    # Shifted by the largest score there can be, not by the largest of these: the same for every process.
    plan = torch.exp((scores_SP - 1) / epsilon)
    if valid_S is not None:
        plan = plan * valid_S[..., None]
    tiny = torch.finfo(plan.dtype).tiny  # nothing to share out stays nothing
    for _ in range(iterations):
        columns = plan.sum(-2, keepdim=True)
        plan = plan / (columns if total is None else total(columns)).clamp_min(tiny)
        plan = plan / plan.sum(-1, keepdim=True).clamp_min(tiny)
    return plan


def assigned_features(assignment_SP: Tensor, features_SD: Tensor) -> Tensor:
    """P_bar = S^T F, (P, D)."""
    return assignment_SP.mT @ features_SD


def updated_prototypes(prototypes_PD: Tensor, assigned_PD: Tensor, momentum: float) -> Tensor:
    """m P + (1 - m) P_bar, (P, D); momentum in [0, 1)."""
    return momentum * prototypes_PD + (1 - momentum) * assigned_PD
