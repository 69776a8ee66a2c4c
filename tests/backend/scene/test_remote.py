"""Imagery on a server: found, described, read, told apart when it changes, and never waited for without end."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Writer
from http_files import serving
from skysense.errors import InputError
from skysense.raster.identity import scene_identity
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.scene import remote
from skysense.scene.acquisition import Scene
from skysense.scene.describe import describe
from skysense.scene.remote import address, is_remote
from skysense.scene.scenefile import parse_scene, scene_to_json
from skysense.scene.validate import validate


def scene_of(path: str, root: Path) -> Scene:
    row = {"modality": "s2", "path": path, "date": "2020-06-01"}
    return parse_scene({"version": 1, "name": "s", "acquisitions": [row]}, root)


@pytest.fixture
def data(s2: Writer) -> bytes:
    """Noise of 10 bands: it does not shrink, and so lies in many parts."""
    noise = np.random.default_rng(0).integers(300, 3000, (10, 512, 512)).astype(np.uint16)
    return s2(
        "local.tif", data=noise, interleave="pixel", tiled=True, blockxsize=128, blockysize=128
    ).read_bytes()


def test_addresses() -> None:
    for text in ("https://host/a/b.tif", "/vsicurl/https://host/a/b.tif"):
        assert is_remote(Path(text)) and address(Path(text)) == "https://host/a/b.tif"
    assert not is_remote(Path("/data/https/b.tif")) and not is_remote(Path("a.tif"))


@pytest.mark.parametrize("prefix", ["", "/vsicurl/"])
def test_a_remote_file_is_read_like_a_local_one(data: bytes, tmp_path: Path, prefix: str) -> None:
    here = scene_of("local.tif", tmp_path)
    with serving(data) as server:
        there = scene_of(prefix + server.url, tmp_path)
        assert validate(there, labels=False).errors == []
        assert describe(Path(prefix + server.url)).modality == "s2"
        assert scene_to_json(there, tmp_path)["acquisitions"][0]["path"] == server.url
        layout = plan_layout(here)
        assert plan_layout(there) == layout
        with SceneReader(here) as one, SceneReader(there) as other:
            ours, theirs = (reader.read("s2", layout.output).values for reader in (one, other))
        assert ours.any() and np.array_equal(ours, theirs)


def test_a_changed_remote_file_is_another(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(data) as server:
        scene = scene_of(server.url, tmp_path)
        before = scene_identity(scene)
        assert scene_identity(scene) == before
        server.tag = "two"
        monkeypatch.setattr(remote, "_STAMP_S", 1e-6)
        assert scene_identity(scene) != before


def test_a_server_that_falls_silent_ends_the_read(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert int(os.environ["GDAL_HTTP_LOW_SPEED_TIME"]) <= 60 and int(os.environ["GDAL_HTTP_TIMEOUT"]) <= 300
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    with serving(data) as server:
        scene = scene_of(server.url, tmp_path)
        layout = plan_layout(scene)
        with SceneReader(scene, layout) as reader:
            server.silent_from = 1_000_000
            started = time.monotonic()
            with pytest.raises(
                InputError, match=rf"{server.url}: a part of the file cannot be read; its server"
            ):
                reader.read("s2", layout.output)
            assert time.monotonic() - started < 20


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with serving(b"") as server:
        url = server.url
    found = describe(Path(url))
    assert found.status == "red" and found.reason.startswith("x.tif: cannot be reached")
    assert validate(scene_of(url, tmp_path), labels=False).errors[0].startswith("row 1 (x.tif): cannot be")
    with serving(b"no image") as server:
        assert "cannot be read as an image" in describe(Path(server.url)).reason
        assert "cannot be reached" in describe(Path(server.url.replace("x.tif", "y.tif"))).reason
