"""The decoder: nothing at first, a reach that ends, the same on crops and maps, and labels that stay on their pixels."""

import threading
from functools import partial

import numpy as np
import pytest
import torch
from skysense.errors import InputError
from skysense.finetune.deep.decoder import PREFIX, Decoder, Entry, decoder_of, spread, strides_of
from skysense.finetune.deep.decoder_steps import at_places
from skysense.finetune.deep.decoder_views import FeatureReader, FeatureViewer
from skysense.finetune.deep.pixels import Pixels, weights
from skysense.finetune.features import FeatureMap, TileFeatures
from skysense.finetune.head import Head
from skysense.inference.scores import TileScorer, open_scorer
from skysense.raster.grid import Lattice, Window
from skysense.raster.layout import Layout
from skysense.raster.tiles import plan_tiles

CPU = torch.device("cpu")
#: Blocks of a scene of each kind: name, features, compute pixels per map pixel, and around the core.
SERIES = (("fused", 4, 1, 0), ("s2.series", 2, 1, 0))
PICTURE = (("hr.1", 3, 4, 64), ("hr.4", 5, 32, 64), ("hr.bands", 2, 1, 64))
BOTH = (("fused", 4, 8, 8), ("hr.1", 3, 4, 32), ("hr.4", 5, 32, 32), ("hr.bands", 2, 1, 32))
KINDS = {"series": (("s2",), 0, SERIES), "picture": (("hr",), 1, PICTURE), "both": (("hr", "s2"), 8, BOTH)}


def tiling_of(kind):
    modalities, factor, _ = KINDS[kind]
    base, area = Lattice("EPSG:32631", 10.0 if kind != "picture" else 0.5), Window(0, 0, 56, 56)
    return plan_tiles(Layout(modalities, base, factor, area, base.grid(area), True))


def entries_of(blocks):
    return [Entry(name, dim, stride) for name, dim, stride, _ in blocks]


def random_tile(tiling, blocks, tile=None, seed=0):
    random = torch.Generator().manual_seed(seed)
    maps = {}
    for name, dim, stride, origin in blocks:
        n = (tiling.core + 2 * origin) // stride
        maps[name] = FeatureMap(torch.randn(dim, n, n, generator=random), stride, origin)
    return TileFeatures(tile or tiling.tile(0, 0), maps, np.ones((tiling.core,) * 2, bool))


def stirred(entries, classes=3, seed=0):
    """A decoder whose every weight is away from where it began."""
    torch.manual_seed(seed)
    decoder = Decoder(entries, classes)
    torch.nn.init.normal_(decoder.out.weight)
    return decoder.eval()


def file_of(decoder, head, steps=5):
    entries = [vars(entry) for entry in decoder.entries]
    header = {"head": head.header(), "decoder": {"steps": steps, "gain": 2.5, "entries": entries}}
    own = {PREFIX + name: t for name, t in decoder.state_dict().items()}
    return header, {**head.tensors(), **own}


def head_of(entries, classes=3):
    blocks = tuple(entry.block for entry in entries)
    weight = torch.randn(classes, sum(b.dim for b in blocks), generator=torch.Generator().manual_seed(3))
    return Head(blocks, tuple(range(1, classes + 1)), weight, torch.zeros(classes), 4.0)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_before_the_first_step_the_scores_are_the_heads(kind):
    tiling, blocks = tiling_of(kind), KINDS[kind][2]
    entries = entries_of(blocks)
    tile, head = random_tile(tiling, blocks), head_of(entries)
    alone = TileScorer(head, CPU)(tile, tiling.core)
    assert torch.equal(open_scorer(*file_of(Decoder(entries, 3), head), CPU)(tile, tiling.core), alone)
    scorer = open_scorer(*file_of(stirred(entries), head), CPU)
    assert (scorer(tile, tiling.core) - alone).abs().mean() > 0.1
    assert scorer.blocks == head.blocks and scorer.ids == (1, 2, 3) and scorer.temperature == 4.0
    none = open_scorer({"head": head.header(), "decoder": {"steps": 0}}, head.tensors(), CPU)
    assert torch.equal(none(tile, tiling.core), alone)


def test_a_file_gives_the_decoder_back():
    entries = entries_of(SERIES)
    decoder = stirred(entries)
    _, tensors = file_of(decoder, head_of(entries))
    again = decoder_of(entries, tensors, 3)
    assert not again.training
    maps = {name: torch.randn(1, dim, 16, 16) for name, dim, _, _ in SERIES}
    assert torch.equal(again(maps, 16), decoder(maps, 16))
    with pytest.raises(InputError, match="decoder of another version"):
        decoder_of(entries, {**tensors, PREFIX + "out.bias": torch.zeros(7)}, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_spread_over_the_same_ground(kind):
    """Each map tells where on the ground its pixels lie; past its end it repeats its edge."""
    tiling, blocks = tiling_of(kind), KINDS[kind][2]
    maps = {}
    for name, _, stride, origin in blocks:
        n = (tiling.core + 2 * origin) // stride
        along = (torch.arange(n) + 0.5) * stride - origin  # compute pixels from the core's corner
        maps[name] = FeatureMap(torch.stack(torch.meshgrid(along, along, indexing="ij")), stride, origin)
    tile = TileFeatures(tiling.tile(0, 0), maps, np.ones((tiling.core,) * 2, bool))
    whole, margin = spread(tile, tiling.core, strides_of(entries_of(blocks)))
    side = tiling.core + 2 * margin
    assert all(side % stride == 0 for stride in strides_of(entries_of(blocks)))
    for name, _, stride, origin in blocks:
        along = (torch.arange(side // stride) + 0.5) * stride - margin
        shown = along.clamp(stride / 2 - origin, tiling.core + origin - stride / 2)
        assert torch.equal(whole[name][0], shown[:, None].expand(-1, len(along)))
        assert torch.equal(whole[name][1], shown[None].expand(len(along), -1))


def test_a_tile_without_its_picture_has_ground_for_every_level():
    tiling = tiling_of("both")
    tile = random_tile(tiling, BOTH)
    without = TileFeatures(tile.tile, {"fused": tile.maps["fused"]}, tile.valid)
    entries = entries_of(BOTH)
    scorer = open_scorer(*file_of(stirred(entries), head_of(entries)), CPU)
    assert scorer(without, tiling.core).isfinite().all()


@torch.no_grad()
def test_what_lies_beyond_the_reach_does_not_matter_to_the_bit():
    for blocks, side, reach in ((SERIES, 64, 8), (PICTURE[2:], 512, 64)):
        decoder = stirred(entries_of(blocks))
        maps = {name: torch.randn(1, dim, side // stride, side // stride) for name, dim, stride, _ in blocks}
        before = decoder(maps, side)
        changed = {name: x.clone() for name, x in maps.items()}
        for x in changed.values():
            x[..., :, : 16 * x.shape[-1] // side] += 1
        after = decoder(changed, side)
        assert not torch.equal(after[..., :16], before[..., :16])
        assert torch.equal(after[..., 16 + reach :], before[..., 16 + reach :])


def pixels_of(tiling, n=60):
    random = np.random.default_rng(0)
    margin, core = tiling.margin * tiling.scale, tiling.core
    return Pixels(
        (tiling.tile(0, 0), tiling.tile(0, 1)),
        np.repeat([0, 1], n // 2),
        random.integers(margin, margin + core, n),
        random.integers(margin, margin + core, n),
        np.repeat([0, 1, 2], [5, 15, 40]),
        np.arange(n) // 5,
        np.array([3, 7, 9]),
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_training_sees_at_a_pixel_what_a_map_shows_there(kind):
    tiling, blocks = tiling_of(kind), KINDS[kind][2]
    entries, pixels = entries_of(blocks), pixels_of(tiling)
    tiles = {0: random_tile(tiling, blocks, seed=1), 1: random_tile(tiling, blocks, seed=2)}
    viewer = FeatureViewer(partial(map, lambda tile: tiles[tile.col]), tiling, pixels, strides_of(entries))
    decoder, head = stirred(entries), head_of(entries)
    scorer, alone = open_scorer(*file_of(decoder, head), CPU), TileScorer(head, CPU)
    margin = tiling.margin * tiling.scale
    seen = 0
    for view in viewer.still(np.arange(len(pixels.target))):
        tile = tiles[int(pixels.tile[view.places[0]])]
        shown = (scorer(tile, tiling.core) - alone(tile, tiling.core)) / 2.5
        rows, cols = pixels.rows[view.places] - margin, pixels.cols[view.places] - margin
        torch.testing.assert_close(
            at_places(decoder, view, CPU), shown[:, rows, cols].T, rtol=1e-4, atol=1e-4
        )
        seen += len(view.places)
    assert seen == len(pixels.target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_stays_under_its_label_however_the_crop_is_turned(kind):
    tiling, blocks = tiling_of(kind), KINDS[kind][2]
    pixels, entries = pixels_of(tiling), entries_of(blocks)
    margin = tiling.margin * tiling.scale

    def features(tile):
        maps = {}
        for name, _, stride, origin in blocks:
            n = (tiling.core + 2 * origin) // stride
            along = (torch.arange(n) * stride - origin + margin).float()
            maps[name] = FeatureMap(torch.stack(torch.meshgrid(along, along, indexing="ij")), stride, origin)
        return TileFeatures(tile, maps, np.ones((tiling.core,) * 2, bool))

    viewer = FeatureViewer(partial(map, features), tiling, pixels, strides_of(entries))
    weight = weights(pixels, np.arange(len(pixels.target)))
    turned, names = set(), set()
    for step in range(16):
        view, other = viewer.augmented(weight, [(0, step), (1, step)])
        (again,) = viewer.augmented(weight, [(0, step)])
        assert len(other.places)
        assert np.array_equal(view.rows, again.rows) and all(
            torch.equal(x, again.maps[name]) for name, x in view.maps.items()
        )
        turned.add((view.rows[0], view.cols[0]))
        names.add(frozenset(view.maps))
        assert len(view.places) and view.maps
        for name, _, stride, origin in blocks:
            if name not in view.maps:
                continue
            for axis, true in enumerate((pixels.rows, pixels.cols)):
                found = view.maps[name][0, axis, view.rows // stride, view.cols // stride].numpy()
                low, high = margin - origin, margin + tiling.core + origin - stride
                cells = (true[view.places] - margin + origin) // stride * stride + margin - origin
                assert np.array_equal(found, cells.clip(low, high))
    assert len(turned) >= 5 and len(names) >= 2


def test_tiles_are_made_side_by_side_in_order_and_kept(monkeypatch):
    """Two lanes that both have to be in a tile at once."""
    monkeypatch.setattr("skysense.finetune.lanes.cpu_threads", lambda: 2)
    tiling, made, together = tiling_of("series"), [], threading.Barrier(2)

    class Extractor:
        device = CPU

        def read(self, tile):
            return tile

        def features(self, tile):
            together.wait(10)
            made.append(tile.col)
            return TileFeatures(
                tile, {"fused": FeatureMap(torch.full((1, 2, 2), tile.col), 1, 0)}, np.ones(1, bool)
            )

    read, usual = FeatureReader(Extractor()), torch.get_num_threads()
    order = [3, 1, 1, 1, 2, 0, 4, 4, 3, 5]
    found = []
    for features in read(tiling.tile(0, col) for col in order[:6]):
        assert torch.get_num_threads() == usual
        found.append(features.tile.col)
    assert found == order[:6] and sorted(made) == [0, 1, 2, 3]
    together = threading.Barrier(1)
    assert [features.tile.col for features in read(tiling.tile(0, col) for col in order)] == order
    assert sorted(made) == [0, 1, 2, 3, 4, 5]
