"""What a training has learned of a scene's series fills the gaps of the scenes that are mapped, on a small synthetic landscape."""

import pytest
import torch
from scene_files import job, part
from skysense.errors import Cancelled
from skysense.finetune.extraction import learned_gaps
from skysense.finetune.scores import score_map
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Options
from skysense.model.modelfile import load_model, save_model
from skysense.scene.scenefile import load_scene
from skysense.synthetic.landscape import make_landscape

QUIET = JobControl(lambda event: None)


@pytest.fixture(scope="module")
def landscape(tmp_path_factory):
    return make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=8, n_s1=4)


@pytest.fixture(scope="module")
def whole(landscape, tmp_path_factory):
    return part(landscape, tmp_path_factory.mktemp("s") / "whole", lambda row: row["modality"] != "hr")


@pytest.fixture(scope="module")
def rare(landscape, tmp_path_factory):
    """Every third date of each sensor."""
    count = {"s2": 0, "s1": 0}

    def keep(row):
        if row["modality"] == "hr":
            return False
        count[row["modality"]] += 1
        return count[row["modality"]] % 3 == 1

    return part(landscape, tmp_path_factory.mktemp("r") / "rare", keep)


@pytest.fixture(scope="module")
def model(whole, tmp_path_factory):
    out = tmp_path_factory.mktemp("m") / "m.safetensors"
    job("finetune", whole, out, options={"judged": False})
    return out


def test_the_model_file_holds_it_for_each_sensor(whole, model):
    tensors, header = load_model(model).tensors, load_model(model).header
    for modality, series in header["inputs"]["series"].items():
        columns = len(series["bands"]) * len(series["days"])
        assert tensors[f"series.{modality}.mean"].shape == (columns,)
        assert len(tensors[f"series.{modality}.loadings"]) == columns
    assert {"series.s2.noise", "series.s1.noise"} <= tensors.keys()


def test_a_scene_that_lacks_dates_is_mapped_better_than_with_lines_between_them(
    landscape, rare, model, tmp_path
):
    job("predict", rare, tmp_path / "filled.tif", model=str(model))
    file, lines = load_model(model), tmp_path / "lines.safetensors"
    # As models were before they held it: they map still.
    save_model(lines, file.header, {k: v for k, v in file.tensors.items() if not k.startswith("series.")})
    job("predict", rare, tmp_path / "lines.tif", model=str(lines))
    filled, straight = (score_map(landscape.parent, tmp_path / f"{name}.tif") for name in ("filled", "lines"))
    assert filled["n_missing"] == straight["n_missing"] == 0
    assert filled["miou"] > straight["miou"] + 0.02


def test_it_is_learned_once_and_anew_for_another_scene(whole, rare):
    first, again, other = (
        learned_gaps(load_scene(scene), Options(), QUIET) for scene in (whole, whole, rare)
    )
    assert again is first
    assert first.keys() == other.keys() == {"s2", "s1"}
    assert all(other[m].digest != gaps.digest for m, gaps in first.items())


def test_it_is_the_same_with_any_number_of_threads(whole, rare):
    first = learned_gaps(load_scene(whole), Options(), QUIET)
    learned_gaps(load_scene(rare), Options(), QUIET)
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        again = learned_gaps(load_scene(whole), Options(), QUIET)
    finally:
        torch.set_num_threads(usual)
    assert {m: gaps.digest for m, gaps in again.items()} == {m: gaps.digest for m, gaps in first.items()}


def test_it_can_be_cancelled(rare, whole):
    control = JobControl(lambda event: None)
    control.cancel()
    learned_gaps(load_scene(rare), Options(), QUIET)
    with pytest.raises(Cancelled):
        learned_gaps(load_scene(whole), Options(), control)


def test_of_a_single_date_there_is_nothing_to_learn(landscape, tmp_path):
    seen = set()

    def first(row):
        return row["modality"] == "s2" and not seen and not seen.add(1)

    scene = load_scene(part(landscape, tmp_path / "one", first))
    assert learned_gaps(scene, Options(), QUIET) == {}
