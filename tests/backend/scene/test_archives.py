"""Imagery in a zip file: found, described, read, told apart when it changes, and missed when it is gone."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import Writer
from skysense.errors import InputError
from skysense.raster.identity import scene_identity
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.scene.acquisition import Scene
from skysense.scene.archives import archive_of, gdal_name
from skysense.scene.describe import describe
from skysense.scene.scenefile import parse_scene, scene_to_json
from skysense.scene.validate import validate


def scene_of(path: str, root: Path) -> Scene:
    row = {"modality": "s2", "path": path, "date": "2020-06-01"}
    return parse_scene({"version": 1, "name": "s", "acquisitions": [row]}, root)


@pytest.fixture
def inside(s2: Writer, tmp_path: Path) -> str:
    """The name of an image in a zip file, which also holds another one of that name."""
    values = np.random.default_rng(0).integers(300, 3000, (2, 10, 64, 64)).astype(np.uint16)
    with zipfile.ZipFile(tmp_path / "Data.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, data in zip(("one", "two"), values):
            archive.write(s2(f"{folder}.tif", data=data), f"{folder}/image.tif")
    return f"/vsizip/{tmp_path}/Data.ZIP/one/image.tif"


@pytest.mark.parametrize(
    ("path", "archive", "name"),
    [
        ("/vsizip//data/a.zip/b/c.tif", "/data/a.zip", "/vsizip//data/a.zip/b/c.tif"),
        ("/vsizip/{/data/a.zip}/c.tif", "/data/a.zip", "/vsizip//data/a.zip/c.tif"),
        ("/vsizip//data/a.zip.d/b.ZIP/c.tif", "/data/a.zip.d/b.ZIP", "/vsizip//data/a.zip.d/b.ZIP/c.tif"),
        ("/vsizip/C:/data/a.zip/c.tif", "C:/data/a.zip", "/vsizip/C:/data/a.zip/c.tif"),
        ("/vsizip//data/a.zip", "/data/a.zip", "/vsizip//data/a.zip"),
        ("/data/a.zip/c.tif", None, None),
        ("https://host/a.zip", None, None),
    ],
)
def test_names(path: str, archive: str | None, name: str | None) -> None:
    assert archive_of(Path(path)) == (archive and Path(archive))
    if name:
        assert gdal_name(Path(path)) == name


def test_it_is_read_like_a_plain_file(inside: str, tmp_path: Path) -> None:
    there, here = scene_of(inside, tmp_path), scene_of("one.tif", tmp_path)
    assert validate(there, labels=False).errors == []
    assert describe(Path(inside)).modality == "s2"
    (row,) = scene_to_json(there, tmp_path)["acquisitions"]
    assert row["path"] == inside
    layout = plan_layout(there)
    with SceneReader(there, layout) as one, SceneReader(here, plan_layout(here)) as two:
        found, expected = (reader.read("s2", layout.output) for reader in (one, two))
    assert np.array_equal(found.values, expected.values) and found.valid.any()


def test_two_of_one_name_are_told_apart_and_so_is_a_change(inside: str, tmp_path: Path) -> None:
    known = {scene_identity(scene_of(inside.replace("one", name), tmp_path)) for name in ("one", "two")}
    assert len(known) == 2
    with zipfile.ZipFile(tmp_path / "Data.ZIP", "a") as archive:
        archive.writestr("note.txt", "more")
    assert scene_identity(scene_of(inside, tmp_path)) not in known


def test_a_folder_that_is_named_like_one(inside: str, tmp_path: Path) -> None:
    (tmp_path / "fold.zip").mkdir()
    (tmp_path / "Data.ZIP").rename(tmp_path / "fold.zip" / "Data.ZIP")
    moved = scene_of(inside.replace("Data", "fold.zip/Data"), tmp_path)
    assert validate(moved, labels=False).errors == [] and scene_identity(moved)


def test_what_is_not_there(inside: str, tmp_path: Path) -> None:
    missing = describe(Path(inside.replace("image", "none")))
    assert missing.status == "red" and "cannot be read as an image" in missing.reason
    gone = scene_of(inside.replace("Data", "other"), tmp_path)
    assert "there is no such file" in validate(gone, labels=False).errors[0]
    scene = scene_of(inside, tmp_path)
    (tmp_path / "Data.ZIP").unlink()
    with pytest.raises(InputError, match="does not exist"):
        scene_identity(scene)
