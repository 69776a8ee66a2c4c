"""Geo-context prototype learning: each region's prototypes follow the student's fused features, without gradient.

M = cosine(F_fus^mm, P_r), S = Sinkhorn(M), P_bar_r = S^T F_fus^mm, P_r <- m P_r + (1 - m) P_bar_r (specification
2.2). What it leaves open is ours: the columns of S sum to 1, so that P_bar_r are centroids on the scale of the
features whatever the number of locations (rows summing to 1 would make them sums). A region not yet seen has
zeros, which add nothing to the fused features; its first prototypes are spread-out features of its first batch,
because random ones would all attract the same mean.

Shapes: S locations of all processes, D fused dim, P prototypes.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from skysense.model.config import GeoConfig, ModelConfig
from skysense.model.geocontext import GeoContext
from skysense.model.prototypes import assigned_features, cosine_scores, sinkhorn, updated_prototypes
from skysense.model.regions import region_id
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective.clustering import farthest_first
from skysense.pretrain.parallel import gather_rows


def with_regions(
    model: ModelConfig, places: Iterable[tuple[float, float]], config: PretrainConfig
) -> ModelConfig:
    """The model's shape with the regions of all places (lon, lat) beside those it has.

    Without geo-context where `config.geo_prototypes` is 0. A model with prototypes keeps their number.
    """
    if config.geo_prototypes == 0:
        return replace(model, geo=None)
    geo = model.geo or GeoConfig(config.geo_prototypes)
    regions = sorted({*geo.regions, *(region_id(lon, lat) for lon, lat in places)})
    return replace(model, geo=replace(geo, regions=tuple(regions)))


@torch.no_grad()
def learn_prototypes(
    geo: GeoContext, features_SD: Tensor, region_S: Tensor, config: PretrainConfig
) -> dict[int, float]:
    """Update the prototypes of the regions that this step saw, in place; the same on every process.

    Args:
        features_SD: the student's fused features before the attention, of this process's locations.
        region_S: (S,) int64 ids of trained regions.

    Returns:
        Per region updated, how many of its prototypes are the nearest of some location: 0 for one alone, 1 for all. Regions with fewer
        locations than prototypes are left as they are.
    """
    features, regions = gather_rows(features_SD.detach()), gather_rows(region_S)
    rows = {region: row for row, region in enumerate(geo.region_ids.tolist())}
    usage = {}
    for region in sorted(set(regions.tolist())):
        own = features[regions == region].to(geo.prototypes.dtype)
        prototypes = geo.prototypes[rows[region]]
        if len(own) < len(prototypes):
            continue
        if bool(prototypes.any()):
            assignment = sinkhorn(
                cosine_scores(own, prototypes),
                epsilon=config.sinkhorn_epsilon,
                iterations=config.sinkhorn_iterations,
            )
            shares = assignment / assignment.sum(0).clamp_min(torch.finfo(own.dtype).tiny)
            prototypes.copy_(
                updated_prototypes(prototypes, assigned_features(shares, own), config.geo_momentum)
            )
        else:
            prototypes.copy_(first_prototypes(own, len(prototypes)))
        nearest = cosine_scores(own, prototypes).argmax(1)
        usage[region] = (len(nearest.unique()) - 1) / max(len(prototypes) - 1, 1)
    return usage


def first_prototypes(features_SD: Tensor, count: int) -> Tensor:
    """`count` spread-out features, scaled to the features' mean norm, (count, D)."""
    valid = torch.ones(1, len(features_SD), dtype=torch.bool, device=features_SD.device)
    directions = farthest_first(F.normalize(features_SD, dim=-1)[None], valid, count)[0]
    return directions * features_SD.norm(dim=-1).mean()
