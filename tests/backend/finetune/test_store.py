import os

import numpy as np
import pytest
import torch
from skysense.errors import InputError
from skysense.finetune.features import FeatureMap, TileFeatures
from skysense.finetune.store import FeatureStore, cache_limit, kept_files
from skysense.raster.grid import Window
from skysense.raster.tiles import Tile


def tile(col):
    return Tile(-1, col, Window(-68, 56 * col, 64, 64), Window(-64, 56 * col, 56, 56))


def features(col):
    values = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(col)).half().float()
    valid = np.random.default_rng(col).random((5, 9)) > 0.5
    return TileFeatures(tile(col), {"fused": FeatureMap(values, 2, 4)}, valid)


@pytest.fixture
def store(tmp_path):
    return FeatureStore({"weights": "a"}, tmp_path / "kept", 10**6)


def test_what_is_kept_comes_back_to_the_bit(store):
    store.save(features(3))
    assert store.has(tile(3)) and not store.has(tile(4))
    found = store.load(tile(3))
    assert found.tile == tile(3)
    assert torch.equal(found.maps["fused"].values, features(3).maps["fused"].values)
    assert (found.maps["fused"].stride, found.maps["fused"].origin) == (2, 4)
    assert found.valid.dtype == bool and (found.valid == features(3).valid).all()
    assert store.load(tile(4)) is None


def test_other_weights_find_nothing(store, tmp_path):
    store.save(features(3))
    assert FeatureStore({"weights": "b"}, tmp_path / "kept", 10**6).load(tile(3)) is None


def test_a_tile_that_saw_nothing_is_kept_as_such(store):
    store.save(TileFeatures(tile(0), {}, np.zeros((4, 4), bool)))
    found = store.load(tile(0))
    assert found.maps == {} and found.valid.shape == (4, 4) and not found.valid.any()


def test_a_damaged_file_is_as_none(store, tmp_path):
    store.save(features(3))
    [(_, _, path)] = kept_files(tmp_path / "kept")
    path.write_bytes(path.read_bytes()[:100])
    assert store.load(tile(3)) is None
    assert not path.exists()


def test_the_least_recently_used_go_when_it_is_full(tmp_path):
    folder = tmp_path / "kept"
    FeatureStore({}, folder, 10**6).save(features(0))
    [(_, size, _)] = kept_files(folder)
    store = FeatureStore({}, folder, 4 * size)
    for col in (1, 2, 3):
        store.save(features(col))
    for age, col in enumerate((0, 1, 2, 3)):
        os.utime(store._path(tile(col)), ns=(10**9 * age, 10**9 * age))
    store.load(tile(0))  # used now
    store.save(features(4))
    # Room is made for some more: at 90 % of four files, the new one included, three are left.
    assert [store.has(tile(col)) for col in range(5)] == [True, False, False, True, True]


def test_what_cannot_be_written_is_not_kept(tmp_path):
    (tmp_path / "kept").write_text("a file where the folder should be")
    store = FeatureStore({}, tmp_path / "kept", 10**6)
    store.save(features(0))
    assert not store.has(tile(0))


def test_the_limit_is_a_number(monkeypatch):
    monkeypatch.setenv("SKYSENSE_CACHE_GB", "0.5")
    assert cache_limit() == 500_000_000
    monkeypatch.setenv("SKYSENSE_CACHE_GB", "much")
    with pytest.raises(InputError, match="SKYSENSE_CACHE_GB"):
        cache_limit()
