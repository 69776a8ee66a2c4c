"""While the model is loaded, files are opened where the map begins; they are closed where no map is made."""

import os

import pytest
import rasterio
from scene_files import recipe_of
from skysense.errors import InputError
from skysense.finetune.lanes import usual_choice
from skysense.inference.ahead import first_tile
from skysense.inference.journal import journal_folder
from skysense.inference.lock import RunLock
from skysense.inference.making import Making
from skysense.inference.run import make_map
from skysense.inference.session import open_session
from skysense.jobs.control import JobControl
from skysense.raster.reader import SceneReader

QUIET = JobControl(lambda event: None)


def middle(map_path, down, across):
    with rasterio.open(map_path) as source:
        return source.xy(int(source.height * down), int(source.width * across)), str(source.crs)


@pytest.mark.parametrize("place", [None, (0.3, 0.7), (0.9, 0.1), (0.5, 0.5)])
def test_what_was_looked_at_is_what_the_map_needs_first(scene, model, map_path, tmp_path, place, monkeypatch):
    monkeypatch.setenv("SKYSENSE_CACHE_GB", "0")
    start, crs = middle(map_path, *place) if place else (None, None)
    options = {"start": list(start), "area_crs": crs} if place else {}
    recipe = recipe_of("predict", scene, tmp_path / "m.tif", model=model, options=options)
    session = open_session(recipe, QUIET, ahead=True)
    tile = first_tile(session.layout, session.tiling, session.start)
    reader = session.ahead._reader
    with Making(session, usual_choice(session.device), QUIET) as making:
        assert session.ahead._reader is None and reader._items  # it is the one that is used
        needed = making._sampler.needs(making.plan.chunks[0].grid)
        assert tile in session.tiling.over(needed)
    assert not reader._handles._idle


def test_a_refused_run_leaves_no_file_open(scene, model, tmp_path, monkeypatch):
    out, opened = tmp_path / "m.tif", []
    real = SceneReader.__init__

    def noted(self, *args):
        real(self, *args)
        opened.append(self)

    monkeypatch.setattr(SceneReader, "__init__", noted)
    with RunLock(journal_folder(out), out, "m"), pytest.raises(InputError, match="another"):
        make_map(recipe_of("predict", scene, out, model=model), QUIET)
    (reader,) = opened
    assert not reader._handles._idle and not reader._handles._needed


def test_nothing_is_opened_unasked(scene, model, tmp_path):
    recipe = recipe_of("predict", scene, tmp_path / "m.tif", model=model)
    assert open_session(recipe, QUIET).ahead is None


def test_a_file_that_is_replaced_meanwhile_is_opened_anew(scene, model, tmp_path):
    """A reader that holds the old one would make a map of it, and keep features of it as those of the new one."""
    recipe = recipe_of("predict", scene, tmp_path / "m.tif", model=model)
    session = open_session(recipe, QUIET, ahead=True)
    looked = session.ahead._reader
    path = next(iter(session.scene.acquisitions[0].bands.values())).path
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    try:
        with session.reader() as reader:
            assert reader is not looked and not looked._handles._idle
    finally:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_map_that_cannot_be_begun_leaves_no_file_open(scene, model, tmp_path, monkeypatch):
    session = open_session(recipe_of("predict", scene, tmp_path / "m.tif", model=model), QUIET, ahead=True)
    reader = session.ahead._reader
    monkeypatch.setattr("skysense.inference.making.plan_map", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Making(session, usual_choice(session.device), QUIET)
    assert not reader._handles._idle and not reader._handles._needed
