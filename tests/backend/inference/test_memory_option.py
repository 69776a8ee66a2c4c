"""Embeddings and changes keep to the share of a GPU's memory that the recipe allows."""

import pytest
from scene_files import job
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return make_landscape(tmp_path_factory.mktemp("scene"), size_m=320, n_s2=2, n_s1=0)


@pytest.mark.parametrize("task", ["embed", "change"])
def test_the_device_is_picked_with_it(scene, tmp_path, monkeypatch, task):
    class Picked(Exception):
        pass

    def pick_device(*given):
        raise Picked(given)

    monkeypatch.setattr(f"skysense.inference.{task}.pick_device", pick_device)
    monkeypatch.setattr("skysense.inference.change.split_scene", lambda *given: None)
    with pytest.raises(Picked) as picked:
        job(task, scene, tmp_path / "o.tif", options={"memory_gb": 3.5, "split": "2020-01-01"})
    assert picked.value.args == (("cpu", 3.5),)
