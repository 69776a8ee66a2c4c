"""L_FGCL's three levels: which rows of two views are compared at the pixel, the object and the image level.

Shapes: B samples, I images (samples x dates of the student's view), N places, C channels, K clusters, M rows.
Source: reference specification 2.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective.clustering import cluster, object_features
from skysense.pretrain.objective.places import ViewMaps


@dataclass(frozen=True)
class Rows:
    """The same things in the student's and in the teacher's view, (M, C) each; only those that both show."""

    student: Tensor
    teacher: Tensor


@dataclass(frozen=True)
class Images:
    """Images of a student's view, each with the teacher's image it is compared with.

    Attributes:
        student, teacher: features of the same places, (I, N, C).
        valid: (I, N) bool, places valid in both.
        dealt: (I, N) bool, places that the image has for the pixel level.
        whole: F_img of those images where both have one.
    """

    student: Tensor
    teacher: Tensor
    valid: Tensor
    dealt: Tensor
    whole: Rows


def pair_views(
    student: ViewMaps, teacher: ViewMaps, at_student: Tensor, at_teacher: Tensor, there: Tensor
) -> Images:
    """Bring the images of two views together: each date of the student's with the nearest of the teacher's.

    Args:
        at_student, at_teacher: the same places in either view, (B, N, 2).
        there: (B, N) bool, places that count.
    """
    (near, near_valid), (far, far_valid) = student.at(at_student), teacher.at(at_teacher)
    (near_whole, near_any), (far_whole, far_any) = student.pooled(), teacher.pooled()
    date = nearest_dates(student.order, teacher.order, far_any)
    sample = torch.arange(len(date), device=date.device)[:, None]
    valid = near_valid & far_valid[sample, date] & there.to(date.device)[:, None]
    both = near_any & far_any[sample, date]
    return Images(
        near.flatten(0, 1),
        far[sample, date].detach().flatten(0, 1),
        valid.flatten(0, 1),
        deal(both, valid.shape[-1]).flatten(0, 1),
        Rows(near_whole[both], far_whole[sample, date][both].detach()),
    )


def nearest_dates(student_BT: Tensor, teacher_BU: Tensor, valid_BU: Tensor) -> Tensor:
    """For each date of the student the nearest valid one of the teacher, (B, T) indices; the first of equals.

    Args:
        student_BT, teacher_BU: see `SeriesView.order`. What has no day is nearest to itself or its neighbour in the
            stack, and farther from any day.
    """
    apart = (student_BT[:, :, None] - teacher_BU[:, None]).abs()
    return apart.masked_fill(~valid_BU[:, None], torch.iinfo(apart.dtype).max).argmin(-1)


def deal(valid_BT: Tensor, places: int) -> Tensor:
    """Which of a sample's places each of its valid dates gets, (B, T, N) bool.

    Each place goes to one date, in turn, so that a series costs no more than a single image. Places are in random
    order: an unbiased sample of the mean over N_S * T_i.
    """
    turn = torch.arange(places, device=valid_BT.device) % valid_BT.sum(1).clamp_min(1)[:, None]
    rank = valid_BT.cumsum(1) - 1
    return (turn[:, None] == rank[..., None]) & valid_BT[..., None]


def pixel_rows(images: Images) -> Rows:
    """f_pix at the places that each image was dealt."""
    keep = (images.valid & images.dealt).flatten().nonzero()[:, 0]
    return Rows(
        images.student.flatten(0, 1).index_select(0, keep), images.teacher.flatten(0, 1).index_select(0, keep)
    )


def object_rows(images: Images, config: PretrainConfig) -> Rows:
    """f_obj of either view by the clusters of the teacher's (`clustering`), of images with at least N_C places."""
    enough = images.valid.sum(1) >= config.object_clusters
    student, teacher, valid = images.student[enough], images.teacher[enough], images.valid[enough]
    with torch.no_grad():
        assignment = cluster(
            teacher,
            valid,
            config.object_clusters,
            epsilon=config.sinkhorn_epsilon,
            iterations=config.sinkhorn_iterations,
            rounds=config.cluster_rounds,
        )
    return Rows(
        object_features(assignment, student).flatten(0, 1), object_features(assignment, teacher).flatten(0, 1)
    )


def joined(rows: Sequence[Rows]) -> Rows:
    """All rows below each other."""
    return Rows(torch.cat([r.student for r in rows]), torch.cat([r.teacher for r in rows]))
