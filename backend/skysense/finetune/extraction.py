"""The features of a scene as every job gets them: a backbone, the scene's reader, and the store of what is known already."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
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
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tile, Tiling, plan_tiles
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import Modality

#: Pixels that the gaps of a series are learned from, and tiles that hold them: at most, where many show next to nothing.
_PIXELS, _TILES, _MOST_TILES = 6_000, 24, 96
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


def learned_gaps(scene: Scene, options: Options, control: JobControl) -> dict[Modality, Gaps]:
    """How the dates of each of a scene's series vary together, learned from pixels all over it.

    Raises:
        InputError: a file of the scene is gone or damaged; Cancelled.
    """
    global _learned
    series = {modality: item for modality, item in series_anchors(scene).items() if len(item.days) > 1}
    if not series:
        return {}
    known, last = scene_identity(scene, options.verify), _learned
    if last is not None and last[0] == known:
        return last[1]
    control.progress(0.0, "Looking at how the dates go together")
    layout = plan_layout(scene)
    with SceneReader(scene, layout) as reader:
        gaps = {
            modality: _learn(reader, layout, modality, item, control) for modality, item in series.items()
        }
    _learned = known, gaps
    return gaps


#: The scene that was learned from last, and what: whoever draws and trains again waits for it once.
_learned: tuple[str, dict[Modality, Gaps]] | None = None


def _learn(
    reader: SceneReader, layout: Layout, modality: Modality, anchors: Anchors, control: JobControl
) -> Gaps:
    tiling = plan_tiles(layout)
    tiles = tiling.drawn(layout.area, _MOST_TILES)

    def draw(tile: Tile) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        control.check()
        stack = reader.read(modality, layout.base.grid(tile.window))
        values, seen = (part.reshape(len(part), -1).T for part in seen_series(modality, stack, anchors))
        random = np.random.default_rng((tile.row & 0xFFFFFFFF, tile.col & 0xFFFFFFFF))
        some = random.permutation(np.flatnonzero(seen.any(axis=1)))
        some = some[: _PIXELS // min(_TILES, len(tiles))]
        return values[some], seen[some]

    drawn: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
    with ThreadPoolExecutor(_READERS, "gaps") as pool:
        while tiles and sum(len(values) for values, _ in drawn) < _PIXELS // 2:
            drawn += pool.map(draw, tiles[:_TILES])
            tiles = tiles[_TILES:]
    values, seen = zip(*drawn)
    return learn_gaps(np.concatenate(values), np.concatenate(seen))


def with_gaps(anchors: dict[Modality, Anchors], gaps: Mapping[Modality, Gaps]) -> dict[Modality, Anchors]:
    """The columns of series, and how gaps in them are filled; without dates on which next to nothing was seen."""
    found = {}
    for modality, item in anchors.items():
        if modality in gaps:
            told = gaps[modality].told.reshape(len(item.days), -1)
            shown = np.flatnonzero(told.any(axis=1)) if told.any() else np.arange(len(told))
            kept = np.isin(np.arange(len(told)), shown).repeat(told.shape[1])
            item = Anchors(item.bands, tuple(item.days[i] for i in shown), gaps[modality].part(kept))
        found[modality] = item
    return found


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
