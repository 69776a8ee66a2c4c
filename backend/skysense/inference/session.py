"""A scene and a trained model made ready for mapping, whatever the model gives."""

import math
import platform
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import skysense
from skysense.errors import InputError
from skysense.finetune.deep.weights import adapted
from skysense.finetune.extraction import load_anchors, open_extractor, tell_size
from skysense.finetune.features import Block, FeatureExtractor
from skysense.finetune.moments import Moment, choose_moment, open_moment
from skysense.finetune.periods import Periods, open_pair, split_scene
from skysense.finetune.series import Anchors
from skysense.finetune.spares import for_scene
from skysense.inference.ahead import Ahead, first_tile, may_look
from skysense.inference.journal import manifest
from skysense.inference.within import Within, read_within
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Options, Recipe
from skysense.jobs.sidecar import write_json, write_recipe
from skysense.model.backbone import Backbone, backbone_of
from skysense.model.bands import BANDS_TOLD
from skysense.model.budget import swin_flops, tile_flops
from skysense.model.compiled import can_compile
from skysense.model.device import computed_by, has_bfloat16, pick_device
from skysense.model.modelfile import ModelFile, load_model
from skysense.model.regions import RegionMatch, match_note
from skysense.raster.crs import read_crs, transformer
from skysense.raster.grid import Bounds
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tiling, plan_tiles
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import SENSORS, Modality
from skysense.scene.validate import check

#: Operations of a map from which on compiling pays: about three minutes of a laptop's GPU, half a minute of the largest.
_WORTH_COMPILING = 1e16


@dataclass(frozen=True)
class Session:
    """What a mapping works with.

    Attributes:
        recipe: what is asked for; scene: as the user gave it.
        model: the trained model, or its spare for what the scene has (see `finetune.spares`), and path: its file.
        backbone: the one that it names; device: where it runs; precision: of its numbers.
        layout, tiling: of the modalities that the model sees.
        within: polygons in the output's CRS that the map is made inside of; None: everywhere.
        ahead: a reader of the scene that has looked ahead; None: none has.
    """

    recipe: Recipe
    scene: Scene
    model: ModelFile
    path: Path
    backbone: Backbone
    device: torch.device
    precision: str
    layout: Layout
    tiling: Tiling
    within: Within | None = None
    ahead: Ahead | None = field(default=None, compare=False, repr=False)

    def reader(self) -> SceneReader:
        """A reader of the scene, which its user closes."""
        found = None if self.ahead is None else self.ahead.take()
        return SceneReader(self.scene, self.layout) if found is None else found

    def close(self) -> None:
        """Close the files that are open for whoever would have come."""
        if self.ahead is not None:
            self.ahead.close()

    @property
    def about(self) -> str:
        """What the map is made with, for people."""
        return self.path.name

    @property
    def modalities(self) -> list[Modality]:
        """Those that the map is made from."""
        found: list[Modality] = self.model.header["inputs"]["modalities"]
        return found

    def extractor(self, reader: SceneReader) -> FeatureExtractor:
        """Makes the features that the model's head sees."""
        inputs = self.model.header["inputs"]

        def make(scene: Scene, reader: SceneReader, anchors: dict[Modality, Anchors]) -> FeatureExtractor:
            return open_extractor(
                scene,
                reader,
                self.tiling,
                self.backbone,
                self.precision,
                self.recipe.options,
                tuple(inputs.get("encoded", inputs["modalities"])),
                anchors,
                tuple(inputs["hr_bands"]),
            )

        anchors = load_anchors(inputs["series"], self.model.tensors)
        if self.moment is not None:
            return open_moment(make, self.moment, reader, anchors)
        if self.periods is None:
            return make(self.scene, reader, anchors)
        return open_pair(make, self.periods, reader, anchors)

    @cached_property
    def periods(self) -> Periods | None:
        """The scene before and after a date, where the model maps changes: the user's date, else the training's."""
        header = self.model.header
        if header.get("target") != "changes":
            return None
        split = self.recipe.options.split or header["inputs"]["split"]
        return split_scene(self.scene, split, self.layout.modalities)

    @cached_property
    def moment(self) -> Moment | None:
        """What is mapped of the scene, where the model learned from labels of dates: the user's date, else the newest."""
        if not self.model.header["inputs"].get("moment"):
            return None
        return choose_moment(self.scene, self.modalities, self.recipe.options.at)

    @property
    def dates(self) -> list[str]:
        """ISO dates of the images that the map is made from, the first and the last; empty where none has one."""
        scene = self.moment.scene if self.moment else self.scene
        found = [item.date for item in scene.acquisitions if item.date and item.modality in self.modalities]
        return [min(found).isoformat(), max(found).isoformat()] if found else []

    def matches(self, extractor: FeatureExtractor, control: JobControl) -> list[RegionMatch]:
        """Which region's prototypes serve each tile; what the user must know of it is told in a note."""
        matches = extractor.geo_matches(self.tiling.over(self.layout.area))
        if note := match_note(matches):
            control.note(note)
        if self.periods and self.periods.season_note:
            control.note(self.periods.season_note)
        if self.moment:
            control.note(f"The map shows one moment: {self.moment.told}.")
        tell_size(extractor, self.tiling, control)
        return matches

    def check_fits(self, blocks: tuple[Block, ...], extractor: FeatureExtractor) -> None:
        """Raises InputError where a head's features are not those that this version computes."""
        inputs, bands = self.model.header["inputs"], set(SENSORS["s2"].bands)
        otherwise = (
            "s2" in inputs.get("encoded", inputs["modalities"])
            and inputs.get("missing_bands") != BANDS_TOLD
            and any(bands - set(item.bands) for item in self.scene.modality("s2"))
        )
        if otherwise or not set(blocks) <= set(extractor.blocks):
            raise InputError(
                "was trained by another version of SkySense, on other features",
                self.path.name,
                "Train it again",
            )

    def manifest(self) -> dict[str, Any]:
        """All that the chunks of the run depend on."""
        tiling = self.tiling
        settings = {
            "model": self.model.sha256,
            "modalities": self.modalities,
            "missing_bands": BANDS_TOLD,
            "output": repr(self.layout.output),
            "fusion_stride": self.recipe.options.fusion_stride,
            "precision": self.precision,
            "computed": computed_by(self.device),
            "tiles": [tiling.side, tiling.margin, tiling.shift, tiling.halo, tiling.blend],
            "products": self.recipe.options.products,
            "within": self.within and self.within.digest,
            **({"split": str(self.periods.split)} if self.periods else {}),
            **({"at": self.moment.told} if self.moment else {}),
        }
        return manifest(self.scene, settings)

    @property
    def target(self) -> str:
        """What the model was trained for, see `recipe.TARGETS`."""
        return str(self.model.header.get("target", "classes"))

    @property
    def start(self) -> tuple[float, float] | None:
        """Where the map begins, in the output's CRS."""
        return _start(self.recipe.options, self.layout.output.crs)

    def metadata(self) -> dict[str, str]:
        """What a result says of itself: functions of the recipe and the model only."""
        backbone = self.model.header["backbone"]
        return {
            "SKYSENSE_VERSION": skysense.__version__,
            "SKYSENSE_MODEL_SHA256": self.model.sha256,
            "SKYSENSE_BACKBONE": f"{backbone['preset']}, {backbone['weights']}",
            "SKYSENSE_MODALITIES": ",".join(self.modalities),
            **({"SKYSENSE_SPLIT": str(self.periods.split)} if self.periods else {}),
            **({"SKYSENSE_AT": self.moment.text} if self.moment else {}),
        }

    def worth_compiling(self) -> bool:
        """Whether the map is so large that compiling the model's blocks, a minute, is soon won back, and they can be compiled."""
        layout, config = self.layout, self.backbone.model.config
        encoded = self.model.header["inputs"].get("encoded", self.modalities)
        n_s2, n_s1 = (len(self.scene.modality(m)) if m in encoded else 0 for m in ("s2", "s1"))
        side, pixels = self.tiling.side, layout.area.height * layout.area.width
        flops = swin_flops(config.hr, side * self.tiling.scale) if "hr" in encoded else 0
        if n_s2 or n_s1:
            flops += tile_flops(
                config, n_s2=n_s2, n_s1=n_s1, hr="hr" in encoded, tile=side, core=side - 2 * self.tiling.margin,
                fusion_stride=self.recipe.options.fusion_stride,
            )  # fmt: skip
        return flops * pixels / self.tiling.core**2 >= _WORTH_COMPILING and can_compile(self.device)

    def write_log(self, matches: list[RegionMatch], seconds: float) -> Path:
        """Write the recipe and the run's log (times, host and versions: what must not be in a result itself) beside the result.

        Raises:
            StorageError: they cannot be written.
        """
        output = self.recipe.output
        write_recipe(self.recipe)
        path = output.with_name(output.name + ".run.json")
        geo = Counter(match.source for match in matches)
        log = {
            "recipe": self.recipe.to_json(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(seconds, 3),
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "host": platform.node(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "skysense": skysense.__version__,
        }
        write_json(path, log | ({"geo_context": dict(geo)} if geo else {}))
        return path


def open_session(recipe: Recipe, control: JobControl, ahead: bool = False) -> Session:
    """Check the scene against the model, and open the model's backbone.

    Args:
        ahead: have the files opened where the map begins, while the backbone is loaded; the session is to be closed then.

    Raises:
        InputError: the scene does not fit the model, or one of them cannot be used.
    """
    control.progress(0.0, "Checking the scene")
    if recipe.model is None:
        raise InputError("no model is chosen", "model", "Train one first, or choose a model file")
    whole = load_model(recipe.model)
    scene = recipe.open_scene(control.note, every=bool(whole.header["inputs"].get("moment")))
    check(scene, control.note)
    model = for_scene(whole, scene, recipe.model.name, control.note)
    device = pick_device(recipe.options.device, recipe.options.memory_gb)
    inputs = model.header["inputs"]
    kept = tuple(item for item in scene.acquisitions if item.modality in inputs["modalities"])
    used = replace(scene, acquisitions=kept)
    layout = plan_layout(used, area=recipe.options.area, area_crs=recipe.options.area_crs)
    within = None
    if recipe.options.within is not None:
        within = read_within(Path(recipe.options.within), recipe.options.within_layer).in_crs(
            layout.output.crs
        )
        layout = plan_layout(used, area=_shared(layout, within), area_crs=layout.output.crs)
    tiling = plan_tiles(layout, recipe.options.blend)
    # Of moments few of the dates are read, and of periods by readers of their own.
    whole_series = not inputs.get("moment") and model.header.get("target") != "changes"
    looker = None
    if ahead and whole_series and may_look(scene):
        first = first_tile(layout, tiling, _start(recipe.options, layout.output.crs))
        looker = Ahead(scene, layout, first)
    with nullcontext() if looker is None else looker.looking():
        backbone = backbone_of(model.header, recipe.model, device)
        backbone = adapted(backbone, model.header, model.tensors, recipe.model.name)
    if model is whole and (warning := backbone.warning_for(inputs["modalities"])):
        control.note(warning)
    return Session(
        recipe,
        scene,
        model,
        recipe.model,
        backbone,
        device,
        recipe.options.precision or _precision(str(inputs.get("precision", "float32")), device, control),
        layout,
        tiling,
        within,
        looker,
    )


def _start(options: Options, crs: str) -> tuple[float, float] | None:
    """Where a map begins, in its CRS; None: nowhere in particular."""
    if options.start is None or options.area_crs is None:
        return options.start
    x, y = transformer(read_crs(options.area_crs, "area_crs"), crs).transform(*options.start)
    return (float(x), float(y)) if math.isfinite(x) and math.isfinite(y) else None


def _precision(trained: str, device: torch.device, control: JobControl) -> str:
    """What a model is mapped in: what it was trained in, where the device computes in that itself."""
    if trained == "float32" or has_bfloat16(device):
        return trained
    control.note(
        "The model was trained in bfloat16, which this machine can only imitate, slowly: it maps in float32, nearly the same."
    )
    return "float32"


def _shared(layout: Layout, within: Within) -> Bounds:
    """Where polygons lie on the output grid.

    Raises:
        InputError: nowhere.
    """
    (west, south, east, north), own = within.bounds, layout.output.bounds
    west, south, east, north = max(west, own[0]), max(south, own[1]), min(east, own[2]), min(north, own[3])
    if not (west < east and south < north):
        raise InputError(
            "lies outside the imagery",
            within.where,
            "Choose polygons that lie on it, or check the layer's CRS",
        )
    return west, south, east, north
