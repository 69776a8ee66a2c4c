import pytest
from scene_files import job, part
from skysense.finetune.store import kept_files
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    whole = make_landscape(folder / "scene", size_m=640, seed=4)
    return part(whole, folder / "series", lambda row: row["modality"] != "hr")


def test_a_map_is_the_same_with_and_without_what_is_kept(scene, tmp_path, monkeypatch):
    model = tmp_path / "m.safetensors"
    monkeypatch.setenv("SKYSENSE_CACHE_GB", "0")
    job("finetune", scene, model)
    job("predict", scene, tmp_path / "cold.tif", model=str(model))
    cold_model = model.read_bytes()

    monkeypatch.setenv("SKYSENSE_CACHE_GB", "1")
    monkeypatch.setenv("SKYSENSE_CACHE", str(tmp_path / "kept"))
    job("finetune", scene, model)
    assert model.read_bytes() == cold_model
    after_training = len(kept_files(tmp_path / "kept"))
    job("predict", scene, tmp_path / "new.tif", model=str(model))
    after_mapping = kept_files(tmp_path / "kept")
    assert 0 < after_training <= len(after_mapping)
    job("predict", scene, tmp_path / "known.tif", model=str(model))
    job("finetune", scene, model)
    assert model.read_bytes() == cold_model
    assert len(kept_files(tmp_path / "kept")) == len(after_mapping)
    for name in ("new", "known"):
        for kind in ("", "_confidence"):
            assert (tmp_path / f"{name}{kind}.tif").read_bytes() == (tmp_path / f"cold{kind}.tif").read_bytes()


def test_a_training_finds_what_an_embedding_has_kept(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYSENSE_CACHE", str(tmp_path / "kept"))
    job("embed", scene, tmp_path / "e.tif")
    kept = kept_files(tmp_path / "kept")
    job("finetune", scene, tmp_path / "m.safetensors")
    assert len(kept_files(tmp_path / "kept")) == len(kept) > 0
