"""The whole, as a person meets it: a real QGIS window, real clicks, the real worker; driven as `make demo` is."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from skysense.finetune.scores import score_map
from skysense.synthetic.landscape import make_landscape

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "demo"))

from session import drive  # noqa: E402 - found through the line above


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for program in ("qgis", "xvfb-run", "import"):
        if shutil.which(program, path="/usr/local/bin:/usr/bin:/bin") is None:
            pytest.skip(f"{program} is not there (make system)")
    return make_landscape(tmp_path_factory.mktemp("scene"), size_m=480, hr_gsd_m=2.5, n_s2=4, n_s1=2)


@pytest.fixture(scope="module")
def lived(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the driver reports of a session in which the worker is killed once while it maps."""
    out = tmp_path_factory.mktemp("out")
    return drive({"scene": str(scene), "out": str(out), "kill_worker": True}, out / "session", timeout_s=600)


def test_the_map_is_right(lived: dict[str, Any], scene: Path) -> None:
    scores = score_map(scene.parent, Path(lived["mapped"]["map"]))
    assert scores["oa"] > 0.8 and scores["n_missing"] == 0
    recipe = json.loads(Path(lived["mapped"]["map"] + ".recipe.json").read_text())
    assert recipe["model"] == lived["trained"]["model"]


def test_the_project_opens_again_with_every_layer(lived: dict[str, Any]) -> None:
    # Two maps, the labels, one HR picture, four Sentinel-2 and two Sentinel-1 dates; the driver has read it again.
    assert lived["layers"] == 10 and Path(lived["project"]).is_file()


def test_a_killed_worker_costs_a_sentence(lived: dict[str, Any]) -> None:
    """QGIS lived on, said what happened in one sentence, drew its canvas, and the next click on Map worked."""
    sentence = lived["killed"]["sentence"]
    assert 20 < len(sentence) < 300 and "\n" not in sentence and "Traceback" not in sentence
    assert lived["killed"]["canvas"] and lived["mapped"]["map"]


def test_the_window_was_seen_and_closes(lived: dict[str, Any]) -> None:
    picture = Path(lived["screenshot"])
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 50_000
    assert lived["ended"], "QGIS did not close by itself: unloading the plugin hangs"
