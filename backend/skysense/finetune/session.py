"""A scene made ready for a training, whatever is trained: its grids, its backbone, its features, and the model file at the end."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import skysense
from skysense.errors import InputError
from skysense.finetune.extraction import gap_tensors, learned_gaps, open_extractor, with_gaps
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.gaps import Gaps
from skysense.finetune.labels import LabelledPolygons, Labels, PixelLabels, choose_labels, label_dates
from skysense.finetune.moments import Moments, find_moments, open_moment
from skysense.finetune.periods import Periods, check_shared, common_anchors, open_pair, split_scene
from skysense.finetune.series import Anchors, series_anchors
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.jobs.sidecar import write_recipe
from skysense.model.backbone import Backbone, open_backbone
from skysense.model.bands import BANDS_TOLD
from skysense.model.device import pick_device, usual_precision
from skysense.model.modelfile import read_header, save_model, save_standalone
from skysense.model.regions import match_note
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tiling, plan_tiles
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import SENSORS, Modality
from skysense.scene.validate import check


@dataclass(frozen=True)
class Session:
    """What a training works with.

    Attributes:
        recipe: what is asked for.
        scene: with what its file leaves open found out.
        layout, tiling: its grids and tiles.
        labels: file, layer and field of what is learned.
        device: where the model runs.
        backbone: the model, and precision: of its numbers ("float32" or "bfloat16").
        moments: the scene on the labels' dates; None: labels are true on all dates, which are looked at together.
        gaps: how the dates of its series vary together, where they are looked at together.
    """

    recipe: Recipe
    scene: Scene
    layout: Layout
    tiling: Tiling
    labels: Labels
    device: torch.device
    backbone: Backbone
    precision: str
    moments: Moments | None = None
    gaps: Mapping[Modality, Gaps] = field(default_factory=dict)

    @cached_property
    def periods(self) -> Periods | None:
        """The scene before and after a date, where changes are learned."""
        options = self.recipe.options
        return (
            split_scene(self.scene, options.split, self.layout.modalities)
            if options.target == "changes"
            else None
        )

    @property
    def legend(self) -> Path | None:
        """The folder whose `classes.json` numbers the classes; changes are other classes than the scene's."""
        return self.scene.root if self.periods is None else None

    @property
    def ids_before(self) -> dict[str, int]:
        """Class ids by name that stay when a class is added: the recipe's; of other names and numbers those of the model that
        the training replaces; and of still others those of the model that it goes on from.
        """
        before: dict[str, int] = {}
        recipe = self.recipe
        for ids in (_class_ids(recipe.model), _class_ids(recipe.output), recipe.options.ids):
            before = {name: i for name, i in before.items() if i not in ids.values()} | ids
        return before

    @cached_property
    def anchors(self) -> dict[Modality, Anchors]:
        """The columns of each modality's series; of moments their bands, without dates.

        Raises:
            InputError: periods or moments share no band of a sensor.
        """
        if self.moments is None and self.periods is None:
            return with_gaps(series_anchors(self.scene), self.gaps)
        common = reduce(common_anchors, (series_anchors(part) for part in self._compared))
        for modality, item in common.items():
            check_shared(item.bands, modality, self._compared_as, self.scene.name)
        if self.moments is None:
            return common
        return {modality: replace(item, days=()) for modality, item in common.items()}

    @cached_property
    def hr_bands(self) -> tuple[str, ...]:
        """The HR bands that the head sees: what all periods or moments have.

        Raises:
            InputError: each has some, and they share none.
        """
        each = [hr_bands(part) for part in self._compared]
        shared = tuple(band for band in each[0] if all(band in other for other in each))
        if all(each):
            check_shared(shared, "hr", self._compared_as, self.scene.name)
        return shared

    @property
    def _compared(self) -> list[Scene]:
        """The periods or the moments; else the scene itself."""
        if self.periods is not None:
            return [self.periods.first, self.periods.second]
        return [self.scene] if self.moments is None else [one.scene for one in self.moments.each]

    @property
    def _compared_as(self) -> str:
        return "the labels' dates" if self.periods is None else "the two periods"

    @property
    def encoded(self) -> tuple[Modality, ...]:
        """The modalities that the model sees."""
        return self.backbone.useful(self.layout.modalities)

    def extractor(self, reader: SceneReader, control: JobControl) -> FeatureExtractor:
        """Makes the features of the scene's tiles; what the user must know of them is told in notes."""
        assert self.moments is None
        if self.periods is None:
            extractor = self._make(self.scene, reader, self.anchors)
        else:
            extractor = open_pair(self._make, self.periods, reader, self.anchors)
            if self.periods.season_note:
                control.note(self.periods.season_note)
        self._tell(extractor, control)
        return extractor

    def parts(
        self, reader: SceneReader, labels: LabelledPolygons, control: JobControl
    ) -> list[tuple[FeatureExtractor, PixelLabels]]:
        """What makes the features of the labels' pixels: one for all, or of each moment one for its polygons."""
        pixels = PixelLabels(labels)
        if self.moments is None:
            return [(self.extractor(reader, control), pixels)]
        assert labels.dates is not None
        of = [self.moments.at.get(day) for day in labels.dates]
        parts = [
            (
                open_moment(self._make, moment, reader, self.anchors),
                pixels.only(np.array([one is not None and one.days == moment.days for one in of])),
            )
            for moment in self.moments.each
        ]
        self._tell(parts[0][0], control)
        return parts

    def _make(self, scene: Scene, reader: SceneReader, anchors: dict[Modality, Anchors]) -> FeatureExtractor:
        return open_extractor(
            scene,
            reader,
            self.tiling,
            self.backbone,
            self.precision,
            self.recipe.options,
            self.encoded,
            anchors,
            self.hr_bands,
        )

    def _tell(self, extractor: FeatureExtractor, control: JobControl) -> None:
        """Notes on what the backbone makes of the scene."""
        if warning := self.backbone.warning_for(self.layout.modalities):
            control.note(warning)
        for modality in set(self.backbone.weak) & set(self.layout.modalities):
            control.note(
                f"{SENSORS[modality].title}: the built-in model does not look at it, since maps are better from its bands and "
                "texture alone. Other base models do."
            )
        if note := match_note(extractor.geo_matches(self.tiling.over(self.layout.area))):
            control.note(note)

    def header(self) -> dict[str, Any]:
        """The part of the model file's header that does not depend on what is learned.

        Raises:
            InputError: the file is to hold the backbone, and that one's licence does not allow it.
        """
        standalone = self.recipe.options.standalone
        return {
            "version": skysense.__version__,
            "target": self.recipe.options.target,
            "backbone": self.backbone.embedded_header() if standalone else self.backbone.header(),
            "inputs": {
                "modalities": list(self.layout.modalities),
                "encoded": list(self.encoded),
                "series": {
                    m: {"bands": list(a.bands), "days": list(a.days)} for m, a in self.anchors.items()
                },
                "hr_bands": list(self.hr_bands),
                "missing_bands": BANDS_TOLD,
                **({"split": self.recipe.options.split} if self.periods else {}),
                **({"moment": True} if self.moments else {}),
                "fusion_stride": self.recipe.options.fusion_stride,
                "precision": self.precision,
                "normalisation": {
                    m: {"mean": list(SENSORS[m].mean), "std": list(SENSORS[m].std)}
                    for m in self.layout.modalities
                },
            },
            "licence": "The head belongs to whoever trained it; the backbone's licence is named with the backbone.",
        }

    def save(self, header: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
        """Write the model file, with how gaps in the series are filled, and the recipe beside it.

        Raises:
            StorageError: it cannot be written.
        """
        output = self.recipe.output
        tensors = tensors | gap_tensors(self.anchors)
        if self.recipe.options.standalone:
            save_standalone(output, header, tensors, self.backbone.model.state_dict())
        else:
            save_model(output, header, tensors)
        write_recipe(self.recipe)
        return output


def open_session(recipe: Recipe, control: JobControl) -> Session:
    """Check what is to be trained on, and open the backbone.

    Raises:
        InputError: the scene, the labels' file or the backbone cannot be used.
    """
    control.progress(0.0, "Checking the scene")
    chosen = recipe.labels or {}
    scene = recipe.open_scene(control.note, every=bool(chosen.get("date_field")))
    check(scene, control.note)
    labels = choose_labels(
        scene,
        Path(chosen["path"]) if chosen else None,
        chosen.get("field"),
        chosen.get("layer"),
        chosen.get("date_field"),
    )
    moments = None
    if labels.date_field is not None:
        moments = find_moments(scene, *label_dates(labels), control.note)
        scene = moments.scene
    layout = plan_layout(scene)
    device = pick_device(recipe.options.device, recipe.options.memory_gb)
    together = moments is None and recipe.options.target != "changes"
    return Session(
        recipe,
        scene,
        layout,
        plan_tiles(layout),
        labels,
        device,
        open_backbone(recipe.model, device),
        recipe.options.precision or usual_precision(device),
        moments,
        learned_gaps(scene, recipe.options, control) if together else {},
    )


def _class_ids(path: Path | None) -> dict[str, int]:
    """Class ids by name of a trained model; none of what has no classes or cannot be read."""
    if path is None:
        return {}
    with suppress(InputError):
        return {str(item["name"]): int(item["id"]) for item in read_header(path).get("classes", ())}
    return {}


def hr_bands(scene: Scene) -> tuple[str, ...]:
    """The HR bands that the head sees."""
    acquisitions = scene.modality("hr")
    return tuple(
        band for band in (*SENSORS["hr"].bands, "NIR") if any(band in item.bands for item in acquisitions)
    )
