"""Attentional geo-context: what a region's prototypes add to the fused features.

Shapes: B scenes, S locations, P prototypes of a region, D fused dim, R trained regions. Source: specification
1.7.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skysense.model.prototypes import geo_context
from skysense.model.regions import RegionMatch, match_region, region_centre


class GeoContext(nn.Module):
    """Prototypes of the trained regions only, and a learned constant for places that none of them describes.

    Prototypes are buffers: they learn by the moving average of `prototypes.updated_prototypes`, never by
    gradient.

    Attributes:
        region_ids: (R,) int64, see `regions.region_id`.
        prototypes: (R, P, D); zeros until a region's first features are seen.
        constant: (D,), stands where the attention's output would stand.
    """

    region_ids: Tensor
    prototypes: Tensor

    def __init__(self, dim: int, n_prototypes: int, region_ids: Sequence[int] = ()) -> None:
        super().__init__()
        self.register_buffer("region_ids", torch.tensor(region_ids, dtype=torch.int64))
        self.register_buffer("prototypes", torch.zeros(len(region_ids), n_prototypes, dim))
        self.constant = nn.Parameter(torch.zeros(dim))

    def matches(self, region: Tensor | None, batch: int) -> list[RegionMatch]:
        """Which prototypes serve each scene.

        Args:
            region: int64 (B,) region ids (negative: unknown), float (B, 2) lon and lat in degrees (not finite: unknown),
                or None: unknown.
        """
        trained = self.region_ids.tolist()
        nowhere = RegionMatch(None, "constant", None)
        if region is None:
            return [nowhere] * batch
        if region.is_floating_point():
            return [
                match_region(lon, lat, trained) if math.isfinite(lon) else nowhere
                for lon, lat in region.tolist()
            ]
        return [nowhere if i < 0 else match_region(*region_centre(i), trained) for i in region.tolist()]

    def forward(self, fused_SD: Tensor, match: RegionMatch) -> Tensor:
        """Features of one scene (S, D) -> (S, 2D)."""
        if match.region is None:
            return torch.cat((fused_SD, self.constant.expand_as(fused_SD)), -1)
        row = self.region_ids.tolist().index(match.region)
        return geo_context(fused_SD, self.prototypes[row])
