"""A scene that lacks a sensor of the model's is mapped by the model's spare head, on a small synthetic landscape."""

import json

import pytest
import rasterio
from scene_files import job, part
from skysense.cli import EXIT_DONE, EXIT_INPUT, main
from skysense.errors import InputError
from skysense.finetune.scores import score_map
from skysense.inference.journal import digest_of
from skysense.inference.session import open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.model.modelfile import load_model, save_model
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def landscape(tmp_path_factory):
    return make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=5, n_s1=3)


@pytest.fixture(scope="module")
def seen_by(landscape, tmp_path_factory):
    """The scene with some of its sensors alone, by their names."""

    def make(*modalities):
        folder = tmp_path_factory.mktemp("s") / "-".join(modalities)
        return part(landscape, folder, lambda row: row["modality"] in modalities)

    return make


@pytest.fixture(scope="module")
def both(seen_by):
    return seen_by("s2", "s1")


@pytest.fixture(scope="module")
def trained(both, tmp_path_factory):
    """A model of Sentinel-2 and Sentinel-1, and the folder of its report."""
    folder = tmp_path_factory.mktemp("model")
    job("finetune", both, folder / "m.safetensors", options={"report": str(folder / "report")})
    return folder / "m.safetensors", folder / "report"


@pytest.fixture(scope="module")
def optical(seen_by):
    return seen_by("s2")


@pytest.fixture(scope="module")
def mapped(optical, trained, tmp_path_factory):
    """The map of Sentinel-2 alone, and what was told."""
    out = tmp_path_factory.mktemp("map") / "map.tif"
    result = job("predict", optical, out, model=str(trained[0]))
    return out, [event["text"] for event in result["events"] if event["event"] == "note"]


def test_the_file_holds_a_head_for_each_sensor(trained):
    file = load_model(trained[0])
    assert list(file.header["spares"]) == ["s1", "s2"]
    assert [block["name"] for block in file.header["spares"]["s2"]["blocks"]] == ["s2.series"]
    names = {name for name in file.tensors if name.startswith("spare.")}
    assert {"spare.s2.head.weight", "spare.s1.head.trees.roots"} <= names
    assert file.header["report"]["spares"]["s2"]["without"] == ["s1"]


def test_without_sentinel_1_it_is_mapped_and_said(landscape, trained, mapped):
    out, notes = mapped
    found = score_map(landscape.parent, out)
    assert found["n_missing"] == 0 and found["oa"] > 0.7
    figures = load_model(trained[0]).header["report"]
    expected = (
        f"about {100 * figures['spares']['s2']['miou']:.0f} % (",
        f"instead of {100 * figures['miou']:.0f} %.",
    )
    (note,) = [text for text in notes if "Sentinel-1" in text]
    assert note.startswith("The scene has no Sentinel-1 imagery") and "from Sentinel-2 alone" in note
    assert all(words in note for words in expected)
    for path in (out, out.with_name("map_confidence.tif")):
        with rasterio.open(path) as source:
            assert source.tags()["SKYSENSE_MODALITIES"] == "s2" and source.shape == (64, 64)


def test_without_sentinel_2_it_is_better_than_chance(landscape, seen_by, trained, tmp_path):
    job("predict", seen_by("s1"), tmp_path / "map.tif", model=str(trained[0]))
    found = score_map(landscape.parent, tmp_path / "map.tif")
    assert found["n_missing"] == 0 and found["oa"] > 0.35


def test_it_is_the_map_of_a_model_that_never_knew_the_other_sensor_but_for_the_backbone(
    landscape, optical, mapped, tmp_path
):
    """Trained on what the scene has, the model sees the same values and its own features beside them."""
    job("finetune", optical, tmp_path / "m.safetensors", options={"judged": False})
    job("predict", optical, tmp_path / "map.tif", model=str(tmp_path / "m.safetensors"))
    with rasterio.open(tmp_path / "map.tif") as one, rasterio.open(mapped[0]) as other:
        assert one.transform == other.transform and one.crs == other.crs
        assert (one.read(1) == other.read(1)).mean() > 0.8


def test_workers_give_the_same_bytes(optical, trained, mapped, tmp_path):
    job("predict", optical, tmp_path / "map.tif", model=str(trained[0]), options={"workers": 2})
    assert (tmp_path / "map.tif").read_bytes() == mapped[0].read_bytes()


def test_chunks_of_the_other_head_are_not_used(both, optical, trained, mapped, tmp_path):
    out = tmp_path / "map.tif"
    control = JobControl(lambda event: control.cancel() if event["event"] == "chunk" else None)
    with pytest.raises(Exception, match="ancel"):
        job("predict", both, out, control=control, model=str(trained[0]))
    left = list((tmp_path / "map.tif.parts").glob("*_class.tif"))
    assert left
    for path in left:
        path.write_bytes(b"must not be merged")
    job("predict", optical, out, model=str(trained[0]))
    assert out.read_bytes() == mapped[0].read_bytes()


def test_the_manifest_tells_the_heads_apart_whatever_the_files(both, optical, trained, tmp_path):
    contents = []
    for scene in (both, optical):
        data = {"skysense": 1, "task": "predict", "scene": str(scene), "output": str(tmp_path / "map.tif")}
        recipe = parse_recipe({**data, "model": str(trained[0]), "options": {"device": "cpu"}}, tmp_path)
        session = open_session(recipe, JobControl(lambda event: None))
        contents.append(session.manifest() | {"scene": "the same"})
    assert digest_of(contents[0]) != digest_of(contents[1])


def test_a_file_of_before_is_refused_with_a_sentence(optical, trained, tmp_path, capsys):
    file = load_model(trained[0])
    header = {key: entry for key, entry in file.header.items() if key != "spares"}
    tensors = {name: tensor for name, tensor in file.tensors.items() if not name.startswith("spare.")}
    save_model(tmp_path / "old.safetensors", header, tensors)
    out = tmp_path / "map.tif"
    command = ["predict", str(optical), "--model", str(tmp_path / "old.safetensors"), "--out", str(out)]
    assert main([*command, "--device", "cpu"]) == EXIT_INPUT and not out.exists()
    assert capsys.readouterr().err == (
        "s2: the model old.safetensors was trained with Sentinel-1 imagery, and the scene has none. Add Sentinel-1 layers, or "
        "train this one again in full, which maps such scenes too.\n"
    )


def test_a_first_look_has_no_spares(both, optical, tmp_path):
    job("finetune", both, tmp_path / "m.safetensors", options={"judged": False})
    assert "spares" not in load_model(tmp_path / "m.safetensors").header
    with pytest.raises(InputError, match="trained with Sentinel-1 imagery"):
        job("predict", optical, tmp_path / "map.tif", model=str(tmp_path / "m.safetensors"))


@pytest.fixture(scope="module")
def fine(seen_by, tmp_path_factory):
    """A model of HR and Sentinel-2."""
    out = tmp_path_factory.mktemp("fine") / "m.safetensors"
    job("finetune", seen_by("hr", "s2"), out)
    return str(out)


@pytest.mark.parametrize(("left", "side", "least"), [("s2", 10.0, 0.7), ("hr", 1.25, 0.5)])
def test_the_grid_is_that_of_what_is_left(landscape, seen_by, fine, tmp_path, left, side, least):
    job("predict", seen_by(left), tmp_path / "map.tif", model=fine)
    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.res == (side, side) and source.tags()["SKYSENSE_MODALITIES"] == left
    found = score_map(landscape.parent, tmp_path / "map.tif")
    assert found["n_missing"] == 0 and found["oa"] > least


def test_the_report_and_info_tell_what_a_missing_sensor_costs(trained, capsys):
    model, folder = trained
    stored = json.loads((folder / "report.json").read_text(encoding="utf-8"))["report"]
    told = [
        f"Without {title}: a mean IoU of about {100 * stored['spares'][key]['miou']:.0f} %"
        for title, key in (("Sentinel-2", "s1"), ("Sentinel-1", "s2"))
    ]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h2>If a scene lacks a sensor</h2>" in page
    assert all(f"<li>{sentence}" in page for sentence in told)
    assert main(["info", str(model)]) == EXIT_DONE
    (line,) = [text for text in capsys.readouterr().out.splitlines() if text.startswith("spares: ")]
    assert all(sentence in line for sentence in told)
    assert main(["info", str(model), "--json"]) == EXIT_DONE
    assert list(json.loads(capsys.readouterr().out)["spares"]) == ["s1", "s2"]
