"""The features of a scene as every job gets them: a backbone, the scene's reader, and the store of what is known already."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.features import FeatureExtractor
from skysense.finetune.gaps import Gaps, learn_gaps
from skysense.finetune.series import Anchors, seen_series, series_anchors
from skysense.finetune.store import open_store
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Options
from skysense.model.backbone import Backbone
from skysense.raster.identity import scene_identity
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tiling, plan_tiles
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import Modality

#: Tiles that a series' gaps are learned from, and pixels of all of them.
_TILES, _PIXELS = 24, 6_000
#: Threads that read them: on a server most of the time is waiting.
_READERS = 4
#: Bytes of new features from which the user is told of them.
_MUCH = 1e9


def open_extractor(
    scene: Scene,
    reader: SceneReader,
    tiling: Tiling,
    backbone: Backbone,
    precision: str,
    options: Options,
    encoded: tuple[Modality, ...],
    anchors: dict[Modality, Anchors],
    hr_bands: tuple[str, ...],
) -> FeatureExtractor:
    """An extractor with the scene's store; the arguments are those of `features.FeatureExtractor` and `store.open_store`.

    Raises:
        InputError: a file of the scene is gone.
    """
    model = backbone.in_precision(precision)
    device = next(model.parameters()).device
    stride = options.fusion_stride
    store = open_store(
        scene, tiling, backbone.identity, device, precision, stride, encoded, anchors, options.verify
    )
    return FeatureExtractor(
        model, reader, tiling.layout, tiling, anchors, hr_bands, stride, encoded, store=store
    )


def learned_anchors(scene: Scene) -> dict[Modality, Anchors]:
    """The columns of a scene's series, and how gaps in them are filled, learned from pixels all over it.

    Raises:
        InputError: a file of the scene is gone or damaged.
    """
    global _learned
    anchors, known = series_anchors(scene), repr(scene_identity(scene))
    if _learned is None or _learned[0] != known:
        gaps = {
            modality: _learn(scene, modality, item)
            for modality, item in anchors.items()
            if len(item.days) > 1
        }
        _learned = known, gaps
    return {modality: replace(item, gaps=_learned[1].get(modality)) for modality, item in anchors.items()}


#: The scene that was learned from last, and what: whoever draws and trains again waits for it once.
_learned: tuple[str, dict[Modality, Gaps]] | None = None


def _learn(scene: Scene, modality: Modality, anchors: Anchors) -> Gaps:
    layout = plan_layout(scene)
    tiles = list(plan_tiles(layout).over(layout.area))
    chosen = np.unique(np.linspace(0, len(tiles) - 1, _TILES).round().astype(int))

    def draw(number: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        stack = reader.read(modality, layout.base.grid(tiles[number].window))
        values, seen = (part.reshape(len(part), -1).T for part in seen_series(modality, stack, anchors))
        some = np.random.default_rng((0, number)).permutation(np.flatnonzero(seen.any(axis=1)))
        some = some[: _PIXELS // len(chosen)]
        return values[some], seen[some]

    with SceneReader(scene, layout) as reader, ThreadPoolExecutor(_READERS, "gaps") as pool:
        values, seen = zip(*pool.map(draw, chosen))
    return learn_gaps(np.concatenate(values), np.concatenate(seen))


def gap_tensors(anchors: Mapping[Modality, Anchors]) -> dict[str, Tensor]:
    """What a model file holds of them; the bands and days are in its header."""
    return {
        name: tensor
        for modality, item in anchors.items()
        if item.gaps is not None
        for name, tensor in item.gaps.tensors(f"series.{modality}.").items()
    }


def load_anchors(
    series: Mapping[Modality, dict[str, Any]], tensors: dict[str, Tensor]
) -> dict[Modality, Anchors]:
    """The columns of a trained model's series.

    Args:
        series: of its header; tensors: of its file.
    """
    return {
        modality: Anchors(
            tuple(item["bands"]), tuple(item["days"]), Gaps.load(tensors, f"series.{modality}.")
        )
        for modality, item in series.items()
    }


def tell_size(extractor: FeatureExtractor, tiling: Tiling, control: JobControl) -> None:
    """Before a run over the whole area: a note where the features that it will keep take much of the disk."""
    if extractor.store is None:
        return
    new = sum(not extractor.store.has(tile) for tile in tiling.over(tiling.layout.area))
    size = new * extractor.kept_bytes
    if size >= _MUCH:
        control.note(
            f"The features of this area take {size / 1e9:.0f} GB; up to {extractor.store.limit / 1e9:.0f} GB are kept in "
            f"{extractor.store.folder}, so that the next map of it takes seconds. `skysense cache --clear` removes them."
        )
