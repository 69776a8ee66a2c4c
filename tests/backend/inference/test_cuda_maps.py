"""Training and mapping on a GPU: near the CPU's map, compiled or not; the same bytes after a kill, and with little memory."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from scene_files import job, part
from skysense.inference import session
from skysense.model.compiled import can_compile
from skysense.model.modelfile import load_model
from skysense.synthetic.landscape import make_landscape

CUDA = torch.device("cuda")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module", autouse=True)
def _nothing_kept():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKYSENSE_CACHE_GB", "0")
        yield


@pytest.fixture(scope="module", params=["sentinel", "hr"])
def scene(request, tmp_path_factory):
    whole = make_landscape(tmp_path_factory.mktemp("whole"), size_m=1_200, n_s2=4, n_s1=2)
    alone = request.param == "hr"
    return part(
        whole, tmp_path_factory.mktemp("s") / request.param, lambda row: (row["modality"] == "hr") == alone
    )


@pytest.fixture(scope="module")
def model(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    job("finetune", scene, out, options={"judged": False, "device": "cuda"})
    return str(out)


@pytest.fixture(scope="module")
def map_path(scene, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "map.tif"
    job("predict", scene, out, model=model, options={"device": "cuda"})
    return out


def classes(path):
    with rasterio.open(path) as source:
        return source.read(1)


def agreement(one, two):
    return float((classes(one) == classes(two)).mean())


def test_a_gpu_computes_in_bfloat16_where_nothing_is_said(model):
    assert load_model(Path(model)).header["inputs"]["precision"] == "bfloat16"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_cpu_maps_the_same_with_the_same_model(scene, model, map_path, tmp_path, precision):
    out = tmp_path / "map.tif"
    job("predict", scene, out, model=model, options={"device": "cpu", "precision": precision})
    assert len(np.unique(classes(map_path))) > 1
    assert agreement(out, map_path) >= 0.98


def test_twice_gives_the_same_bytes(scene, model, map_path, tmp_path):
    out = tmp_path / "map.tif"
    job("predict", scene, out, model=model, options={"device": "cuda"})
    assert out.read_bytes() == map_path.read_bytes()


def test_compiled_blocks_map_the_same_and_twice_the_same_bytes(
    scene, model, map_path, tmp_path, monkeypatch
):
    if not can_compile(CUDA):
        pytest.skip("torch cannot compile here")
    monkeypatch.setattr(session, "_WORTH_COMPILING", 0)
    out, again = tmp_path / "map.tif", tmp_path / "again.tif"
    for path in (out, again):
        job("predict", scene, path, model=model, options={"device": "cuda"})
    assert agreement(out, map_path) >= 0.98
    assert out.read_bytes() == again.read_bytes()


def test_killed_and_resumed_gives_the_same_bytes(scene, model, map_path, tmp_path):
    out = tmp_path / "map.tif"
    command = [sys.executable, "-m", "skysense", "predict", str(scene), "--model", model, "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--device", "cuda"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not list(Path(f"{out}.parts").glob("*_class.tif")) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    job("predict", scene, out, model=model, options={"device": "cuda"})
    assert out.read_bytes() == map_path.read_bytes()


def test_a_full_gpu_halves_its_batches_and_goes_on(scene, model, map_path, tmp_path):
    """Real exhaustion: the process gets less and less memory beside what it holds, until batches must be smaller."""
    if "hr" in load_model(Path(model)).header["inputs"]["modalities"]:
        pytest.skip("HR alone is not fused in batches")
    out = tmp_path / "map.tif"
    try:
        for more in (0.4, 0.28, 0.2, 0.14, 0.1, 0.07, 0.05):
            torch.cuda.empty_cache()
            limit = torch.cuda.memory_reserved() / 1e9 + more
            result = job(
                "predict", scene, out, model=model, options={"device": "cuda", "memory_gb": limit}
            )
            notes = [event["text"] for event in result["events"] if event["event"] == "note"]
            if any("memory was full" in note for note in notes):
                break
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("memory was full" in note for note in notes)
    assert agreement(out, map_path) >= 0.99
