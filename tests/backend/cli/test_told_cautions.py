"""What is doubtful about a scene is told by every command that computes on it: once, and beside the result."""

import json

import pytest
from skysense.cli import main
from skysense.synthetic.landscape import make_landscape

#: Sentinel-1 of both orbits; of the one that the fewer are of, the image is named.
COUNTS = "Note: Sentinel-1 has 1 ascending and 1 descending images. Better use one."
NAMED = "is of a descending orbit while most Sentinel-1 images are not, better use one orbit."


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=4, n_s1=2)
    data = json.loads(path.read_text())
    data["acquisitions"] = [row for row in data["acquisitions"] if row["modality"] != "hr"]
    for row, orbit in zip([row for row in data["acquisitions"] if row["modality"] == "s1"], ("asc", "des")):
        row["orbit"] = orbit
    path.write_text(json.dumps(data))
    return path


@pytest.fixture(scope="module")
def model(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    assert main(["finetune", str(scene), "--out", str(out), "--device", "cpu", "--json"]) == 0
    return out


@pytest.mark.parametrize(
    "command",
    [
        ["finetune", "SCENE", "--out", "OUT/m.safetensors"],
        ["predict", "SCENE", "--model", "MODEL", "--out", "OUT/map.tif"],
        ["predict", "SCENE", "--model", "MODEL", "--out", "OUT/map.tif", "--workers", "2"],
        ["predict", "SCENE", "--model", "MODEL", "--out", "OUT/map.tif", "--dates", "clearest:2"],
        ["embed", "SCENE", "--out", "OUT/e.tif"],
        ["change", "SCENE", "--split", "2023-07-01", "--out", "OUT/c.tif"],
        ["probe", "SCENE", "--random-weights", "tiny"],
    ],
    ids=lambda command: " ".join(command[::5]),
)
def test_orbits_are_never_mixed_silently(command, scene, model, tmp_path, capsys):
    places = {"SCENE": str(scene), "MODEL": str(model)}
    words = [places.get(word, word.replace("OUT", str(tmp_path))) for word in command]
    assert main([*words, "--device", "cpu", "--json"]) == 0
    out, err = capsys.readouterr()
    assert isinstance(json.loads(out), dict) and out.count("\n") == 1
    assert err.splitlines().count(COUNTS) == 1 and err.count(NAMED) == 1
