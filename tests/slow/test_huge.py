"""The paper's model, `huge`, with random weights, from a backbone file to a map on one small scene: minutes, 8 GB of disk.

Run by `make slow`; not part of `make test`.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from skysense.model.checkpoint.backbonefile import BackboneHeader, Licence, save_backbone
from skysense.model.presets import PRESETS, seeded_model
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("huge") / "huge.safetensors"
    state = seeded_model("huge").state_dict()
    header = BackboneHeader("huge", PRESETS["huge"], "random, seed 0", Licence("free", "Free.", True))
    specs = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()}
    save_backbone(path, header, specs, state.items())
    return path


def test_from_a_backbone_file_to_a_map(backbone: Path, tmp_path: Path) -> None:
    scene = make_landscape(tmp_path / "scene", size_m=320, n_s2=3, n_s1=2)
    model, out = tmp_path / "m.safetensors", tmp_path / "map.tif"
    seconds = {}
    for name, options in {
        "finetune": ["--model", str(backbone), "--out", str(model)],
        "predict": ["--model", str(model), "--out", str(out)],
    }.items():
        started = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "skysense",
            name,
            str(scene),
            *options,
            "--fusion-stride",
            "4",
            "--device",
            "cpu",
        ]
        subprocess.run(command, check=True)
        seconds[name] = round(time.monotonic() - started, 1)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    command = [sys.executable, "-m", "skysense", "evaluate", str(scene), "--map", str(out), "--json"]
    scores = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print({"seconds": seconds, "peak_bytes": peak, "oa": scores["oa"], "miou": scores["miou"]})
    with rasterio.open(out) as source:
        classes = source.read(1)
        assert source.tags()["SKYSENSE_BACKBONE"] == "huge, random, seed 0"
    assert (classes > 0).all() and len(np.unique(classes)) > 1
    assert scores["oa"] > 0.6  # the spectral values alone give more
