"""A scene of Sentinel images, a model of it and its map, made once for the tests of runs."""

import pytest
from scene_files import job, part
from skysense.synthetic.landscape import make_landscape

SIDE = 1_500  # metres: 150 pixels, nine chunks or more


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    whole = make_landscape(tmp_path_factory.mktemp("whole"), size_m=SIDE, n_s2=4, n_s1=2)
    return part(whole, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] != "hr")


@pytest.fixture(scope="session")
def model(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    job("finetune", scene, out, options={"judged": False})
    return str(out)


@pytest.fixture(scope="session")
def map_path(scene, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "map.tif"
    job("predict", scene, out, model=model)
    return out
