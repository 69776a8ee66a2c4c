import json

import pytest
import rasterio
from corpus_fixtures import SHARED, cut_off, write_scene
from rasterio.crs import CRS
from skysense.errors import Cancelled, InputError
from skysense.model.regions import region_id
from skysense.pretrain.corpus import find_corpus
from skysense.pretrain.sources import Source
from skysense.raster.grid import Window


def source(name, licence="CC-BY-4.0", place="elsewhere"):
    return Source(name, place, "o", licence, "by o")


def names(corpus):
    return [entry.name for entry in corpus.entries]


def test_scenes_are_found_at_any_depth_once_and_in_order(tmp_path):
    write_scene(tmp_path / "b" / "deep" / "two", s2=2, s1=1)
    one = write_scene(tmp_path / "a" / "one", hr=1, side=20)
    write_scene(tmp_path / ".hidden" / "three", s2=1)
    corpus = find_corpus([tmp_path, one, tmp_path / "a"])
    assert names(corpus) == ["one", "two"]
    assert [entry.kind for entry in corpus.entries] == ["hr", "series"]
    found = corpus.found
    assert found.acquisitions == {"hr": 1, "s2": 2, "s1": 1} and found.kinds == {"hr": 1, "series": 1}
    assert found.area_km2 == pytest.approx(0.2**2 + 0.4**2) and found.dated == 4 and found.undated == 0
    assert found.text == (
        "Found 2 scenes with 4 images (1 High resolution, 2 Sentinel-2, 1 Sentinel-1): 0.2 km² in 1 region."
    )


def test_an_entry_knows_its_extent_in_base_pixels_and_its_region(tmp_path):
    write_scene(tmp_path / "fused", s2=1, hr=1, side=12)
    entry = find_corpus([tmp_path]).entries[0]
    assert entry.kind == "fused" and entry.layout.hr_factor == 4
    assert entry.extent == Window(-560000, 50000, 12, 12)
    lon, lat = entry.centre
    assert lon == pytest.approx(3.0, abs=0.001) and lat == pytest.approx(50.55, abs=0.01)
    assert entry.region == region_id(lon, lat)


def test_a_scene_given_as_json_starts_from_the_root(tmp_path):
    scene = json.loads(write_scene(tmp_path / "x", s2=1).read_text())
    assert names(find_corpus([scene], root=tmp_path / "x")) == ["x"]
    with pytest.raises(InputError, match=r"looked for scene\.json"):
        find_corpus([scene], root=tmp_path)


def test_scenes_of_one_name_are_told_apart(tmp_path):
    write_scene(tmp_path / "a" / "site", s2=1)
    second = write_scene(tmp_path / "b" / "site", s2=1)
    assert names(find_corpus([tmp_path])) == ["site", f"site ({second})"]


def test_dates_may_be_unknown(tmp_path):
    file = write_scene(tmp_path / "x", s2=2)
    scene = json.loads(file.read_text())
    for row in scene["acquisitions"]:
        row["date"] = None
    file.write_text(json.dumps(scene))
    found = find_corpus([tmp_path]).found
    assert found.undated == 2 and found.dated == 0 and "2 images without a date" in found.text


def test_broken_files_and_scenes_are_skipped_and_named(tmp_path):
    write_scene(tmp_path / "a", s2=3)
    (tmp_path / "a" / "s2_0.tif").write_bytes(b"no picture")
    (tmp_path / "a" / "s2_1.tif").unlink()
    write_scene(tmp_path / "b", s2=1)
    (tmp_path / "b" / "s2_0.tif").write_bytes(b"")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "scene.json").write_text("{")
    write_scene(tmp_path / "d", s2=1, bands={"s2": ("mystery",)})
    write_scene(tmp_path / "e", s1=1)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "scene.json").write_text("[" * 100_000)
    corpus = find_corpus([tmp_path])
    assert names(corpus) == ["a", "e"]
    assert [item.path.name for item in corpus.entries[0].scene.acquisitions] == ["s2_2.tif"]
    skipped = {item.name: item.reason for item in corpus.found.skipped}
    assert set(skipped) == {
        "a, s2_0.tif",
        "a, s2_1.tif",
        "b, s2_0.tif",
        str(tmp_path / "b" / "scene.json"),
        str(tmp_path / "c" / "scene.json"),
        "d, s2_0.tif",
        str(tmp_path / "d" / "scene.json"),
        str(tmp_path / "f" / "scene.json"),
    }
    assert "damaged" in skipped["a, s2_0.tif"] and skipped["a, s2_1.tif"] == "does not exist"
    assert "cannot be read as a scene file" in skipped[str(tmp_path / "c" / "scene.json")]
    assert "cannot be read as a scene file" in skipped[str(tmp_path / "f" / "scene.json")]
    assert "Skipped 8: a, s2_0.tif (" in corpus.found.text and "and 3 more." in corpus.found.text


@pytest.mark.parametrize("sensor", [{"s2": 1}, {"s1": 1}, {"hr": 1}, {"s2": 1, "hr": 1}])
def test_a_scene_in_a_local_coordinate_system_is_skipped_and_named(tmp_path, sensor):
    write_scene(tmp_path / "a", s2=1)
    write_scene(tmp_path / "b", **sensor)
    for path in (tmp_path / "b").glob("*.tif"):
        with rasterio.open(path, "r+") as dataset:
            dataset.crs = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    corpus = find_corpus([tmp_path])
    assert names(corpus) == ["a"]
    (skipped,) = corpus.found.skipped
    assert skipped.name == str(tmp_path / "b" / "scene.json")
    assert skipped.reason == "the coordinate system has no place on the Earth"


def test_links_are_followed_and_each_folder_is_seen_once(tmp_path):
    write_scene(tmp_path / "disk" / "far", s2=1)
    write_scene(tmp_path / "data" / "near", s2=1)
    (tmp_path / "data" / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "disk" / "far")
    (tmp_path / "data" / "near" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "disk" / "far" / "loop").symlink_to(tmp_path / "disk")
    (tmp_path / "data" / "gone").symlink_to(tmp_path / "nowhere")
    corpus = find_corpus([tmp_path / "data"])
    assert names(corpus) == ["far", "near"] and not corpus.found.skipped


def test_nothing_to_learn_from_is_an_error_that_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"looked for scene.json files at any depth and found none") as error:
        find_corpus([tmp_path])
    assert error.value.where == str(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_corpus([tmp_path / "gone"])
    file = write_scene(tmp_path / "a", s2=1)
    (tmp_path / "a" / "s2_0.tif").unlink()
    with pytest.raises(InputError, match=r"s2_0.tif \(does not exist\)"):
        find_corpus([file])


def test_a_list_of_sources_lets_in_what_it_allows(tmp_path):
    for name in ("free", "alike", "other"):
        write_scene(tmp_path / name, s2=1)
    write_scene(tmp_path / "made", s2=1, synthetic=True)
    sources = {"free": source("free"), "alike": source("alike", "CC-BY-SA-4.0")}
    corpus = find_corpus([tmp_path], sources=sources)
    assert names(corpus) == ["free", "made"] and corpus.found.synthetic == 1
    assert {item.name: item.reason for item in corpus.found.left_out} == {
        "alike": "licence CC-BY-SA-4.0",
        "other": "not in the list of sources",
    }
    assert len(find_corpus([tmp_path]).entries) == 4


def test_a_place_is_left_out_with_all_its_scenes(tmp_path):
    for name in ("long", "short", "far"):
        write_scene(tmp_path / name, s2=1)
    sources = {
        "long": source("long", place="cell"),
        "short": source("short", place="cell"),
        "far": source("far", place="away"),
    }
    assert names(find_corpus([tmp_path], sources=sources, leave_out=["cell"])) == ["far"]
    assert names(find_corpus([tmp_path], leave_out=["far"])) == ["long", "short"]
    with pytest.raises(InputError, match="no scene or place is named cel"):
        find_corpus([tmp_path], sources=sources, leave_out=["cel"])


def test_finding_can_be_stopped(tmp_path):
    write_scene(tmp_path / "a", s2=1)

    def stop(text):
        raise Cancelled()

    with pytest.raises(Cancelled):
        find_corpus([tmp_path], progress=stop)


def test_finding_reads_no_pixels(tmp_path):
    write_scene(tmp_path / "a", s2=1, side=200)
    cut_off(tmp_path / "a" / "s2_0.tif")
    assert names(find_corpus([tmp_path])) == ["a"]


@pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
def test_the_sample_scenes_are_all_usable():
    found = find_corpus([SHARED / "pretrain", SHARED / "scenes"]).found
    assert found.scenes == 35 and not found.skipped
    assert found.acquisitions == {"hr": 10, "s2": 305, "s1": 169}
    assert found.kinds == {"hr": 5, "series": 25, "fused": 5} and found.undated == 11
