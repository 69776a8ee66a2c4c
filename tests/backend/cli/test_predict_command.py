"""`skysense predict` without a trained model says how one is made."""

import json
import shlex

import pytest
from skysense.cli import EXIT_INPUT, main
from skysense.model.folder import built_in_model
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return make_landscape(tmp_path_factory.mktemp("my scene"), size_m=320, n_s2=1, n_s1=0)


def told(capsys, *arguments):
    assert main(["predict", *map(str, arguments)]) == EXIT_INPUT
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def commands(text):
    """The two commands that a sentence quotes."""
    return [shlex.split(part) for part in text.split("`")[1::2]]


def test_without_a_model(scene, tmp_path, capsys):
    out = tmp_path / "O.tif"
    text = told(capsys, scene, "--out", out)
    assert text.startswith("--model: no trained model is given, and the built-in one has no classes.")
    assert commands(text) == [
        ["skysense", "finetune", str(scene), "--out", "M.safetensors"],
        ["skysense", "predict", str(scene), "--model", "M.safetensors", "--out", str(out)],
    ]


def test_a_scene_without_labels_needs_some(scene, tmp_path, capsys):
    data = json.loads(scene.read_text())
    del data["labels"]
    bare = scene.with_name("bare.json")
    bare.write_text(json.dumps(data))
    for name in (bare, tmp_path / "none"):
        train, _ = commands(told(capsys, name, "--out", tmp_path / "O.tif"))
        assert train == [
            *["skysense", "finetune", str(name), "--labels", "LABELS.gpkg", "--field", "FIELD"],
            *["--out", "M.safetensors"],
        ]


def test_with_a_backbone(scene, tmp_path, capsys):
    text = told(capsys, scene, "--model", built_in_model(), "--out", tmp_path / "O.tif")
    assert f"{built_in_model()}: is a backbone, which has no classes." in text
    train, _ = commands(text)
    assert train == [
        *["skysense", "finetune", str(scene), "--model", str(built_in_model()), "--out", "M.safetensors"]
    ]


def test_the_commands_lead_to_a_map(scene, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in commands(told(capsys, scene, "--out", "O.tif")):
        assert main([*command[1:], "--device", "cpu"]) == 0
    assert (tmp_path / "O.tif").is_file()


def test_a_model_that_is_not_there(scene, tmp_path, capsys):
    assert "m.safetensors: does not exist" in told(
        capsys, scene, "--model", "m.safetensors", "--out", "O.tif"
    )
