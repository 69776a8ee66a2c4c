"""L_CL: self-distillation without negatives, over the rows of all processes.

The teacher's scores are centred by Sinkhorn-Knopp over the global batch (SwAV, Caron et al. 2020; DINOv2, Oquab et
al. 2023), not by DINO's running mean: balanced targets hold from the first step and for a batch of a few windows,
where a running mean lags behind and lets the outputs collapse.

Shapes: M rows of this process, K head outputs.
"""

from torch import Tensor

from skysense.model.prototypes import sinkhorn
from skysense.pretrain.parallel import all_sum


def global_mean(values_M: Tensor) -> Tensor:
    """Mean over the rows of all processes, as this process's share of it: the shares add up, as gradients do.

    0 where nobody has a row.
    """
    return values_M.sum() / all_sum(values_M.new_tensor(len(values_M))).clamp_min(1)


def balanced_targets(teacher_MK: Tensor, temperature: float, iterations: int) -> Tensor:
    """The teacher's distributions (M, K): rows sum to 1, outputs are used about equally over all processes.

    Args:
        teacher_MK: scores in [-1, 1]; no gradient flows into them.
    """
    return sinkhorn(teacher_MK.detach(), epsilon=temperature, iterations=iterations, total=all_sum)


def contrastive_loss(student_MK: Tensor, targets_MK: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the student's softmax(scores / temperature) to the targets, `global_mean` over rows."""
    return global_mean(-(targets_MK * (student_MK / temperature).log_softmax(-1)).sum(-1))
