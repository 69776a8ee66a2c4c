"""The imagery as the head for objects sees it: HR alone, at pixels that suit the objects' size, tile by tile."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from skysense.errors import InputError
from skysense.finetune.features import Block, FeatureExtractor, TileFeatures, TileInput
from skysense.finetune.lanes import Lanes
from skysense.finetune.objects.network import band_count, seen_blocks
from skysense.raster.grid import Lattice, Window
from skysense.raster.layout import Layout
from skysense.raster.tiles import Tile, Tiling
from skysense.scene.acquisition import Scene

#: Pixels of a tile, and of the context around its core: an object up to twice as long is seen in whole.
_SIDE, _MARGIN = 768, 128
#: Pixels on which an object of the usual size (the root of its area) is looked at. Finer pixels cost time and are further from what
#: the network can see at once.
USUAL_PIXELS = 24
#: Pixel sizes this close (as a share) are the same.
_SAME = 0.01


@dataclass(frozen=True)
class View:
    """One tile.

    Attributes:
        tile: where; its window and core in pixels of the lattice.
        bands: (C, H, W) float32 on 0..1, 0 where invalid.
        valid: (H, W) bool.
        features: of each of the model's blocks (dim, any, any) over the same ground.
    """

    tile: Tile
    bands: Tensor
    valid: Tensor
    features: tuple[Tensor, ...]


def hr_only(scene: Scene) -> Scene:
    """The scene's HR imagery.

    Raises:
        InputError: it has none.
    """
    kept = scene.modality("hr")
    if not kept:
        raise InputError(
            "has no high-resolution imagery, in which alone objects can be seen",
            scene.name,
            "Add an HR layer, or train for the class of every pixel",
        )
    return replace(scene, acquisitions=tuple(kept))


def objects_layout(layout: Layout, gsd: float) -> Layout:
    """The layout of HR alone with pixels of `gsd` metres: HR's own where they are as large."""
    if abs(layout.base.gsd / gsd - 1) < _SAME:
        return layout
    lattice = Lattice(layout.base.crs, gsd)
    area = lattice.window_of(layout.compute.grid(layout.area).bounds)
    return replace(layout, base=lattice, area=area, aligned=False)


def objects_tiling(layout: Layout) -> Tiling:
    """Its tiles."""
    return Tiling(layout, _SIDE, _MARGIN)


def reach(area: Window) -> Window:
    """An area with the ground around it on which an object can be that shows one of its own."""
    return area.grow(_MARGIN)


def views(
    extractor: FeatureExtractor, tiles: Sequence[Tile], threads: int | None = None
) -> Iterator[View | None]:
    """The tiles in turn, None where nothing was seen; `threads`: see `lanes.Lanes`."""
    blocks = extractor.blocks
    with Lanes(extractor, threads) as lanes:
        for *_, view in lanes.over(((tile, None) for tile in tiles), partial(_view, blocks)):
            yield view


def _view(blocks: tuple[Block, ...], data: TileInput, found: TileFeatures) -> View | None:
    stack = data.stacks.get("hr")
    if stack is None or not stack.valid.any() or not found.valid.any():
        return None
    bands = next(found.maps[block.name] for block in blocks if block.spectral)
    features = tuple(found.maps[block.name].values for block in seen_blocks(blocks))
    valid = torch.from_numpy(stack.valid.any(axis=0)).to(bands.values.device)
    return View(data.tile, bands.values[: band_count(blocks)].clone(), valid, features)
