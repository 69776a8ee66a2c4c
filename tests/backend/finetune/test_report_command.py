"""`skysense finetune SCENE --report DIR`, on a small synthetic scene."""

import json

import pytest
from skysense.cli import EXIT_DONE, EXIT_INPUT, main
from skysense.jobs.recipe import load_recipe
from skysense.model.modelfile import load_model
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Without HR: quick to compute."""
    path = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=2, n_s1=1)
    data = json.loads(path.read_text())
    data["acquisitions"] = [item for item in data["acquisitions"] if item["modality"] != "hr"]
    path.write_text(json.dumps(data))
    return path


def test_finetune_writes_the_report_that_the_model_holds(scene, tmp_path, capsys):
    model, folder = tmp_path / "m.safetensors", tmp_path / "new" / "report"
    assert main(["finetune", str(scene), "--out", str(model), "--report", str(folder), "--json"]) == EXIT_DONE
    result = json.loads(capsys.readouterr().out)
    assert result["page"] == str(folder / "report.html")
    stored = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert stored["report"] == result["report"] == load_model(model).header["report"]
    assert stored["report"]["oa"] > 0.6 and len(stored["report"]["forest"]["classes"]) >= 2
    assert (
        stored["facts"]["Imagery"].startswith("Sentinel-2 (B2, ") and "dates: 2" in stored["facts"]["Imagery"]
    )
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in page and all(item["name"] in page for item in result["classes"])
    # The recipe beside the model makes the report again.
    assert load_recipe(tmp_path / "m.safetensors.recipe.json").options.report == str(folder)


def test_a_folder_that_cannot_be_is_told_before_the_work(scene, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    model = tmp_path / "m.safetensors"
    assert (
        main(["finetune", str(scene), "--out", str(model), "--report", str(tmp_path / "taken")]) == EXIT_INPUT
    )
    told = capsys.readouterr()
    assert "taken: cannot be written" in told.err and "Computing" not in told.err
    assert not model.exists() and (tmp_path / "taken").read_text() == "mine"
