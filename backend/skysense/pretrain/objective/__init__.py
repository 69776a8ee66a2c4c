"""What a pretraining minimises: multi-granularity contrastive learning, alignment, and geo-context prototypes."""

from skysense.pretrain.objective.mgcl import Objective

__all__ = ["Objective"]
