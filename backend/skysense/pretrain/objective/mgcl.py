"""Multi-granularity contrastive learning: all losses of a step.

    L_MGCL = sum over HR, S2, S1 of L_FGCL(F_i, F_i') + L_FGCL(F_fus, F_fus')
    L_FGCL = L_pix + L_obj + L_img, each an L_CL (`contrastive`)
    total  = L_MGCL + beta L_align (`alignment`)

HR has its pixel level on the map of every Swin stage, their mean, since dense heads read them all; its object and
image level on the last one. Source: reference specification 2.1.

A step is `losses`, backward, and then `update_prototypes`, which the graph must no longer need the old ones for.
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn

from skysense.model.config import ModelConfig
from skysense.model.skysense import SERIES, SkySense
from skysense.pretrain.collate import Group
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.correspondence import random_points
from skysense.pretrain.objective import health
from skysense.pretrain.objective.alignment import Alignment
from skysense.pretrain.objective.contrastive import balanced_targets, contrastive_loss
from skysense.pretrain.objective.geo import learn_prototypes
from skysense.pretrain.objective.heads import FUSED, Heads, stage_kinds
from skysense.pretrain.objective.levels import Images, Rows, joined, object_rows, pair_views, pixel_rows
from skysense.pretrain.objective.places import ViewMaps, is_alone, seeds, view_maps
from skysense.pretrain.parallel import all_sum
from skysense.scene.sensors import Modality

#: Views that the teacher sees; further ones are local and the student's alone.
TEACHER_VIEWS = (0, 1)

Level = Literal["pixel", "object", "image"]


class Twins(Protocol):
    """What follows the student as a moving average; see `teacher.Teacher`."""

    model: SkySense
    heads: nn.Module


class Objective(nn.Module):
    """Projection heads and the losses on them.

    Terms of weight 0 are not computed. Its weights are float32 or wider and are computed with outside autocast.

    Attributes:
        heads: the student's; the teacher has a twin of them.
        stats: of the last step, over all processes (`health`): per kind "<kind>.spread", "<kind>.sharpness" and
            "<kind>.usage"; after `update_prototypes` "prototypes.usage", the mean over the regions seen of what
            `learn_prototypes` gives.
    """

    def __init__(self, model: ModelConfig, config: PretrainConfig) -> None:
        super().__init__()
        self.model_config, self.config = model, config
        self.heads = Heads(model, config)
        last = stage_kinds(model)[-1]
        dims = {kind: self.heads.dims[kind] for kind in (last, *SERIES)}
        self.alignment = (
            Alignment(dims, config.head_bottleneck, config.align_temperature) if config.align_weight else None
        )
        self.stats: dict[str, float] = {}
        self._weights: dict[Level, float] = {
            "pixel": config.pixel_weight,
            "object": config.object_weight,
            "image": config.image_weight,
        }
        #: Level and kind of head per name of a term's group.
        self._kinds: dict[str, tuple[str, ...]] = {
            "hr": stage_kinds(model),
            **{kind: (kind,) for kind in (*SERIES, FUSED)},
        }
        self._seen_by_region: list[tuple[Tensor, Tensor]] = []

    def losses(
        self,
        student: SkySense,
        teacher: Twins,
        groups: Sequence[Group],
        *,
        teacher_temperature: float,
        seed: int,
    ) -> dict[str, Tensor]:
        """This process's shares of all terms: values and gradients add up over processes to those of one.

        All processes call it together, with whatever groups they have, none at all included.

        Args:
            student: in training mode.
            teacher: in evaluation mode; no gradient flows into it.
            groups: with their tensors on the models' device; autocast, where wanted, is the caller's.
            teacher_temperature: of this step.
            seed: of this step; places are drawn from it.

        Returns:
            "hr.pixel", "hr.object", "hr.image", the same of s2, s1 and fused, as far as some process has rows for
            them, "align" where computed, and "total".
        """
        pairs: dict[str, list[Images]] = {kind: [] for kind in self.heads.dims}
        aligned: list[tuple[int, dict[str, ViewMaps]]] = []
        for group in groups:
            seen = [
                view_maps(self.model_config, group, v, student(x, series_maps=True))
                for v, x in enumerate(group.views)
            ]
            with torch.no_grad():
                taught = [
                    view_maps(self.model_config, group, v, teacher.model(group.views[v], series_maps=True))
                    for v in TEACHER_VIEWS
                ]
            with torch.autocast(next(self.heads.parameters()).device.type, enabled=False):
                self._pair(group, seen, taught, seed, pairs)
            if not is_alone(group.views[0]):
                aligned += [(v, seen[v]) for v in TEACHER_VIEWS]
                self._remember(student, group, seen, seed)
        with torch.autocast(next(self.heads.parameters()).device.type, enabled=False):
            return self._terms(pairs, aligned, teacher.heads, teacher_temperature)

    @torch.no_grad()
    def update_prototypes(self, student: SkySense) -> None:
        """Let the features of the last `losses` (of all since the last update) update the geo-context's prototypes.

        After the backward pass; all processes call it together and get the same prototypes.
        """
        if student.geo_context is None:
            return
        like = student.geo_context.prototypes
        nothing = (like.new_zeros(0, like.shape[-1]), torch.zeros(0, dtype=torch.int64, device=like.device))
        features, regions = zip(nothing, *self._seen_by_region, strict=True)
        self._seen_by_region = []
        used = learn_prototypes(student.geo_context, torch.cat(features), torch.cat(regions), self.config)
        if used:
            self.stats["prototypes.usage"] = sum(used.values()) / len(used)

    def forget(self) -> None:
        """Drop what the last `losses` left for `update_prototypes`: its step is not taken."""
        self._seen_by_region = []

    def _pair(
        self,
        group: Group,
        seen: list[dict[str, ViewMaps]],
        taught: list[dict[str, ViewMaps]],
        seed: int,
        pairs: dict[str, list[Images]],
    ) -> None:
        """Append the images of every pair of a student's and another teacher's view."""
        points: dict[tuple[str, int, int], tuple[Tensor, Tensor, Tensor]] = {}
        for (s, t), (name, kinds) in product(product(range(len(seen)), TEACHER_VIEWS), self._kinds.items()):
            if s == t or kinds[-1] not in seen[s] or kinds[-1] not in taught[t]:
                continue
            u, v = max(s, t), min(s, t)  # the two views of a pair share their places
            if (name, u, v) not in points:
                modality = None if name == FUSED else cast(Modality, name)
                generators = seeds(group, seed, f"{name} {u} {v}")
                points[name, u, v] = random_points(
                    group, self.config.pixels_per_view, generators, modality, (u, v)
                )
            at_u, at_v, there = points[name, u, v]
            at_s, at_t = (at_u, at_v) if s == u else (at_v, at_u)
            for kind in kinds:
                pairs[kind].append(pair_views(seen[s][kind], taught[t][kind], at_s, at_t, there))

    def _remember(self, student: SkySense, group: Group, seen: list[dict[str, ViewMaps]], seed: int) -> None:
        """Keep fused features before the attention, at random places of both global views, by trained region."""
        geo = student.geo_context
        if geo is None:
            return
        matches = geo.matches(group.views[0].region, len(group.scenes))
        own = [match.region if match.source == "own" else None for match in matches]
        dim = self.model_config.fusion.dim
        for view in TEACHER_VIEWS:
            if FUSED not in seen[view]:
                continue
            generators = seeds(group, seed, f"prototypes {view}")
            at, _, there = random_points(group, self.config.pixels_per_view, generators, views=(view, view))
            features, valid = seen[view][FUSED].at(at)
            for b, region in enumerate(own):
                if region is not None:
                    rows = features.detach()[b, 0, valid[b, 0] & there[b].to(valid.device), :dim]
                    self._seen_by_region.append(
                        (rows, torch.full((len(rows),), region, dtype=torch.int64, device=rows.device))
                    )

    def _terms(
        self,
        pairs: dict[str, list[Images]],
        aligned: list[tuple[int, dict[str, ViewMaps]]],
        teacher_heads: nn.Module,
        temperature: float,
    ) -> dict[str, Tensor]:
        self.stats, terms = {}, {}
        total = next(self.heads.parameters()).new_zeros(())
        for name, kinds in self._kinds.items():
            for level, weight in self._weights.items():
                if weight == 0:
                    continue
                losses = [
                    loss
                    for kind in (kinds if level == "pixel" else kinds[-1:])
                    if (loss := self._loss(kind, level, pairs[kind], teacher_heads, temperature)) is not None
                ]
                if losses:
                    term = torch.stack(losses).mean()
                    terms[f"{name}.{level}"] = term.detach()
                    total = total + weight * term
        if self.alignment is not None:
            align = self._align(aligned)
            terms["align"] = align.detach()
            total = total + self.config.align_weight * align
        return {**terms, "total": total}

    def _loss(
        self, kind: str, level: Level, pairs: list[Images], teacher_heads: nn.Module, temperature: float
    ) -> Tensor | None:
        """L_CL of one kind and level; None where no process has a row."""
        like = next(self.heads.parameters())
        none = like.new_zeros(0, self.heads.dims[kind])
        rows = joined([Rows(none, none), *(self._rows(images, level) for images in pairs)])
        if not bool(all_sum(torch.tensor(len(rows.student), device=like.device))):
            return None
        with torch.no_grad():
            scores = teacher_heads(kind, rows.teacher)
            targets = balanced_targets(scores, temperature, self.config.sinkhorn_iterations)
        if f"{kind}.spread" not in self.stats:  # the finest level that there is
            self.stats[f"{kind}.spread"] = health.spread(rows.teacher)
            self.stats[f"{kind}.sharpness"] = health.sharpness(targets)
            self.stats[f"{kind}.usage"] = health.usage(scores)
        return contrastive_loss(self.heads(kind, rows.student), targets, self.config.student_temperature)

    def _rows(self, images: Images, level: Level) -> Rows:
        if level == "pixel":
            return pixel_rows(images)
        return object_rows(images, self.config) if level == "object" else images.whole

    def _align(self, aligned: list[tuple[int, dict[str, ViewMaps]]]) -> Tensor:
        """L_align of the global views of all samples that may have several modalities."""
        assert self.alignment is not None
        like = next(self.heads.parameters())
        sizes = [len(next(iter(maps.values())).valid) for _, maps in aligned]
        view = torch.tensor([v for (v, _), size in zip(aligned, sizes, strict=True) for _ in range(size)])
        features: dict[str, list[Tensor]] = {}
        valid: dict[str, list[Tensor]] = {}
        for kind in self.alignment.maps:
            features[kind] = [like.new_zeros(0, self.heads.dims[kind])]
            valid[kind] = [torch.zeros(0, dtype=torch.bool, device=like.device)]
            for (_, maps), size in zip(aligned, sizes, strict=True):
                if kind in maps:
                    average, there = maps[kind].over_dates()
                else:
                    average = like.new_zeros(size, self.heads.dims[kind])
                    there = torch.zeros(size, dtype=torch.bool, device=like.device)
                features[kind].append(average)
                valid[kind].append(there)
        return cast(
            Tensor,
            self.alignment(
                {kind: torch.cat(x) for kind, x in features.items()},
                {kind: torch.cat(x) for kind, x in valid.items()},
                view.to(like.device, torch.int64),
            ),
        )
