"""Objects: unsupervised clusters of an image's pixel features.

The article leaves open how clusters of two views are matched (specification 2.1). Here they need no matching: row n
of both views is the same place, the teacher's features of one view are clustered, and that one assignment of places
averages either view's own features. Object k is then the same ground in both.

Shapes: I images, N places, C channels, K clusters.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from skysense.model.prototypes import sinkhorn


def cluster(
    features_INC: Tensor, valid_IN: Tensor, clusters: int, *, epsilon: float, iterations: int, rounds: int
) -> Tensor:
    """Soft assignment (I, N, K) of places to clusters of about equal size, each image by itself.

    Spherical k-means whose assignment is Sinkhorn's on cosines with the centres; it starts from `farthest_first` and
    draws nothing at random.

    Args:
        valid_IN: bool; rows of other places are 0, those of valid ones sum to 1.
        rounds: assignments followed by new centres, before the last assignment.
    """
    points = F.normalize(features_INC, dim=-1) * valid_IN[..., None]
    centres = farthest_first(points, valid_IN, clusters)

    def assign() -> Tensor:
        return sinkhorn(points @ centres.mT, epsilon=epsilon, iterations=iterations, valid_S=valid_IN)

    for _ in range(rounds):
        centres = F.normalize(assign().mT @ points, dim=-1)
    return assign()


def farthest_first(points_INC: Tensor, valid_IN: Tensor, count: int) -> Tensor:
    """`count` spread-out points of each image, (I, count, C).

    First the one nearest to the mean, then always the one whose nearest chosen point is farthest (by cosine; the
    points have norm 1). Repeats points where an image has fewer; zeros where it has none.
    """
    image = torch.arange(len(points_INC), device=points_INC.device)
    first = (points_INC @ points_INC.sum(1)[..., None])[..., 0].masked_fill(~valid_IN, -torch.inf).argmax(1)
    chosen = [points_INC[image, first]]
    nearest = torch.full_like(valid_IN, -torch.inf, dtype=points_INC.dtype)
    for _ in range(count - 1):
        nearest = nearest.maximum((points_INC @ chosen[-1][..., None])[..., 0])
        chosen.append(points_INC[image, nearest.masked_fill(~valid_IN, torch.inf).argmin(1)])
    return torch.stack(chosen, 1)


def object_features(assignment_INK: Tensor, features_INC: Tensor) -> Tensor:
    """Each cluster's mean feature, (I, K, C), weighted by the assignment; differentiable in the features."""
    mass = assignment_INK.sum(1).clamp_min(torch.finfo(assignment_INK.dtype).tiny)
    return assignment_INK.mT @ features_INC / mass[..., None]
