import numpy as np
import pyogrio
import pytest
import rasterio
from map_files import fill_in, read_sample, write_map
from skysense.assessment.areas import class_areas
from skysense.assessment.sample import allocate, draw_points, draw_sample
from skysense.errors import InputError, StorageError
from skysense.raster.classmap import ClassMap


def test_rare_classes_get_the_minimum_and_the_rest_goes_by_area():
    # Olofsson et al. 2014, section 5: shares 2, 1.5, 32 and 64.5 %, 640 points, 75 for each of the two rare classes.
    areas = {1: 0.020, 2: 0.015, 3: 0.320, 4: 0.645}
    found = allocate(areas, 640, 75)
    assert found == {1: 75, 2: 75, 3: 162, 4: 328}  # 490 x 0.320 / 0.965 = 162.5, 490 x 0.645 / 0.965 = 327.5
    assert sum(found.values()) == 640
    assert allocate(areas, 300, 75) == dict.fromkeys(areas, 75)
    assert allocate({1: 1.0, 2: 3.0}, 100, 10) == {1: 25, 2: 75}
    # The minimum of one class makes another rare in turn.
    assert allocate({1: 0.01, 2: 0.26, 3: 0.73}, 100, 26) == {1: 26, 2: 26, 3: 48}
    with pytest.raises(InputError, match="300 points or more"):
        allocate(areas, 299, 75)


@pytest.fixture
def ids():
    """1,000 x 5,000 pixels: a rare class in the first block alone, half unmapped."""
    ids = np.zeros((1000, 5000), np.uint8)
    ids[:, :1500], ids[400:, 4000:], ids[10:14, 2000:2005] = 2, 7, 1
    return ids


def test_points_lie_on_pixel_centres_of_their_class(tmp_path, ids, heard):
    path = write_map(tmp_path / "m.tif", ids)
    result = draw_sample(path, tmp_path / "s.gpkg", heard, points=300, minimum=10, seed=3)
    fields, xy = read_sample(tmp_path / "s.gpkg")
    assert list(fields) == ["id", "map_class_id", "map_class", "reference"]
    assert fields["id"].tolist() == list(range(1, 301)) and result["points"] == 300
    assert all(value is None for value in fields["reference"])
    with rasterio.open(path) as dataset:
        shown = np.array([value[0] for value in dataset.sample(xy)])
        assert pyogrio.read_info(tmp_path / "s.gpkg")["crs"] == "EPSG:32631"
    assert (shown == fields["map_class_id"]).all() and (shown > 0).all()
    assert (xy % 10 == 5).all()
    assert len(np.unique(xy, axis=0)) == 300  # none twice
    assert {name: int((fields["map_class"] == name).sum()) for name in ("water", "Wälder", "field")} == {
        item["name"]: item["points"] for item in result["classes"]
    }
    counts = {item["id"]: item["points"] for item in result["classes"]}
    assert (
        counts[1] == 10 and counts[2] + counts[7] == 290 and counts[2] == pytest.approx(290 * 15 / 21, abs=1)
    )
    # A judge who works through the points does not meet the classes one after the other.
    assert len(np.flatnonzero(np.diff(fields["map_class_id"]))) > 80


def test_every_pixel_of_a_class_has_the_same_chance(tmp_path, heard):
    # 2 of 6 pixels over four blocks, 300 times: each is drawn 100 times, give or take 4 standard errors.
    ids = np.zeros((520, 4100), np.uint8)
    places = [(0, 0), (0, 4099), (511, 4095), (511, 4096), (512, 0), (519, 4096)]
    ids[tuple(np.transpose(places))] = 2
    drawn = dict.fromkeys(places, 0)
    with ClassMap(write_map(tmp_path / "m.tif", ids)) as classes:
        areas = class_areas(classes, heard)
        for seed in range(300):
            points = draw_points(classes, areas, {2: 2}, seed, heard)
            for place in zip(points.rows.tolist(), points.cols.tolist()):
                drawn[place] += 1
    assert sum(drawn.values()) == 600
    assert all(abs(times - 100) < 4 * (300 / 3 * 2 / 3) ** 0.5 for times in drawn.values()), drawn


def test_a_seed_gives_the_same_points(tmp_path, ids, heard):
    with ClassMap(write_map(tmp_path / "m.tif", ids)) as classes:
        areas = class_areas(classes, heard)

        def drawn(seed, counts):
            return draw_points(classes, areas, counts, seed, heard)

        def of_forest(points):
            return set(zip(points.rows[points.ids == 2].tolist(), points.cols[points.ids == 2].tolist()))

        one, again, other = (drawn(seed, {1: 5, 2: 30, 7: 9}) for seed in (1, 1, 2))
        assert (
            (one.rows == again.rows).all() and (one.cols == again.cols).all() and (one.ids == again.ids).all()
        )
        assert of_forest(one) != of_forest(other)
        # Another number for one class leaves the others' points as they were.
        assert of_forest(drawn(1, {1: 6, 2: 30, 7: 20})) == of_forest(one) and len(of_forest(one)) == 30


def test_what_is_told(tmp_path, ids, heard):
    ids[10:14, 2000:2005] = 0
    ids[10, 2000:2003] = 1
    path = write_map(tmp_path / "m.tif", ids, 0.001, 3, 60, "EPSG:4326")
    result = draw_sample(path, tmp_path / "s.gpkg", heard)
    assert result["classes"][0]["points"] == 3
    assert any("water has only 3 pixels" in note for note in heard.notes)
    assert len(heard.notes) == 1  # one degree of latitude: 3 % between the pixels' areas
    tall = write_map(tmp_path / "tall.tif", np.ones((30, 30)), 1.0, 0, 60, "EPSG:4326")
    draw_sample(tall, tmp_path / "t.gpkg", heard, per_class=20)
    assert "equal-area" in heard.notes[-1]


def test_work_is_not_overwritten(tmp_path, ids, heard):
    path, out = write_map(tmp_path / "m.tif", ids), tmp_path / "s.gpkg"
    draw_sample(path, out, heard, per_class=5)
    draw_sample(path, out, heard, per_class=6)  # nobody has begun to fill it in
    fields, _ = read_sample(out)
    fill_in(out, ["water", *[None] * (len(fields["id"]) - 1)], tmp_path / "begun.gpkg")
    before = (tmp_path / "begun.gpkg").read_bytes()
    (tmp_path / "other.gpkg").write_bytes(b"not a geopackage")
    for name in ("begun.gpkg", "other.gpkg"):
        with pytest.raises(InputError, match="another name"):
            draw_sample(path, tmp_path / name, heard, per_class=5)
    assert (tmp_path / "begun.gpkg").read_bytes() == before
    (tmp_path / "s.gpkg-wal").touch()
    with pytest.raises(InputError, match="edited"):
        draw_sample(path, out, heard, per_class=5)
    with pytest.raises(InputError, match="gpkg"):
        draw_sample(path, tmp_path / "s.shp", heard)
    with pytest.raises(StorageError):
        draw_sample(path, tmp_path / "nowhere" / "s.gpkg", heard)
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize(
    "wrong", [{"points": 0}, {"per_class": 1}, {"minimum": 1}, {"seed": -1}, {"points": 20}]
)
def test_numbers_that_make_no_sense(tmp_path, ids, heard, wrong):
    with pytest.raises(InputError):
        draw_sample(write_map(tmp_path / "m.tif", ids), tmp_path / "s.gpkg", heard, **wrong)
    assert not (tmp_path / "s.gpkg").exists()
