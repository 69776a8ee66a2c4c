"""L_align: the modalities of one place lie close in a shared space, those of different places apart.

An option of the paper, beside the article's losses: sum over i != j of L_MMCL(F_i, F_j) on student features
(specification 2.1). What it leaves open is ours: InfoNCE with one linear map per modality (as CLIP, Radford et al.
2021), features averaged over a view's valid pixels and dates, and the other samples of the global batch, in the same
view, as negatives. The other view of a sample is neither: it shows the same place.

Shapes: R rows (samples x views) of this process, A of all processes, C channels, E shared dim.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.pretrain.parallel import gather_rows, world_size


class Alignment(nn.Module):
    """The maps into the shared space, and the loss.

    Args:
        dims: channels per modality.
        shared: E.
        temperature: of InfoNCE.
    """

    def __init__(self, dims: Mapping[str, int], shared: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.maps = nn.ModuleDict({name: nn.Linear(dim, shared) for name, dim in dims.items()})

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor], view: Tensor) -> Tensor:
        """The loss over the rows of all processes, as this process's share: shares and gradients add up.

        Args:
            features: (R, C) per modality, anything where not valid.
            valid: (R,) bool per modality.
            view: (R,) int64, which view a row comes from.
        """
        shared = {
            name: gather_rows(F.normalize(layer(features[name]), dim=-1)) for name, layer in self.maps.items()
        }
        there = {name: gather_rows(valid[name]) for name in self.maps}
        views = gather_rows(view)
        loss = cast(Tensor, sum(x.sum() for x in shared.values())) * 0.0  # part of the graph in any case
        for i, j in combinations(self.maps, 2):
            both = there[i] & there[j]
            if bool(both.any()):
                loss = loss + self._pair(shared[i][both], shared[j][both], views[both])
        # Every process has the whole loss, but a gradient into its own rows only: gradients add up as they are, values
        # as a share each.
        return loss - loss.detach() * (1 - 1 / world_size())

    def _pair(self, a_AE: Tensor, b_AE: Tensor, view_A: Tensor) -> Tensor:
        """L_MMCL(a, b) + L_MMCL(b, a)."""
        scores = a_AE @ b_AE.mT / self.temperature
        scores = scores.masked_fill(view_A[:, None] != view_A, -torch.inf)
        own = torch.arange(len(scores), device=scores.device)
        return F.cross_entropy(scores, own) + F.cross_entropy(scores.mT, own)
