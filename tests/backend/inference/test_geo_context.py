"""A backbone with geo-context, from training to the map: whose prototypes served the place, and that it is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scene_files import job, part
from skysense.model import backbone as backbones
from skysense.model.checkpoint.backbonefile import BackboneHeader, Licence, save_backbone
from skysense.model.config import GeoConfig
from skysense.model.presets import PRESETS
from skysense.model.regions import COLUMNS, region_id
from skysense.model.skysense import SkySense
from skysense.synthetic.landscape import make_landscape

HERE = (9.0, 48.5)  # only its neighbourhood counts


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory) -> Path:
    scene = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=2, n_s1=1)
    return part(scene, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] != "hr")


@pytest.fixture(scope="module")
def place(sentinel) -> int:
    """The region that the scene lies in."""
    from skysense.jobs.recipe import parse_recipe
    from skysense.raster.crs import bounds_in
    from skysense.raster.layout import plan_layout

    scene = parse_recipe(
        {"skysense": 1, "task": "predict", "scene": str(sentinel), "output": "x"}, Path.cwd()
    )
    grid = plan_layout(scene.open_scene()).output
    west, south, east, north = bounds_in(grid.bounds, grid.crs, "EPSG:4326")
    return region_id((west + east) / 2, (south + north) / 2)


def backbone(folder: Path, region: int) -> Path:
    tiny = PRESETS["tiny"]
    config = replace(tiny, hr=replace(tiny.hr, depths=(1, 1, 1, 1)), geo=GeoConfig(4, (region,)))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        state = SkySense(config).state_dict()
    path = folder / "b.safetensors"
    header = BackboneHeader("custom", config, "of a test", Licence("free", "Free.", True))
    save_backbone(path, header, {k: (t.dtype, t.shape) for k, t in state.items()}, state.items())
    return path


@pytest.mark.parametrize(
    ("steps", "source", "told"),
    [
        (0, "own", ""),
        (1, "nearest", "uses the nearest trained region"),
        (200, "constant", "no trained region within"),
    ],
)
def test_the_result_says_whose_prototypes_served(
    sentinel: Path, place: int, tmp_path: Path, steps: int, source: str, told: str
) -> None:
    backbones._loaded.clear()
    row, column = divmod(place, COLUMNS)
    trained = row * COLUMNS + (column + steps) % COLUMNS
    model = tmp_path / "m.safetensors"
    results: list[dict[str, Any]] = [
        job("finetune", sentinel, model, model=str(backbone(tmp_path, trained))),
        job("predict", sentinel, tmp_path / "map.tif", model=str(model)),
    ]
    for result in results:
        notes = [e["text"] for e in result["events"] if e["event"] == "note" and "Geo-context" in e["text"]]
        assert len(notes) == bool(told) and all(told in note for note in notes)
    log = json.loads(Path(results[1]["run"]).read_text())
    assert set(log["geo_context"]) == {source}
