import csv

import numpy as np
import pyogrio
import pytest
import shapely
from map_files import NAMES, fill_in, read_sample, write_map, write_points
from skysense.assessment.sample import draw_sample
from skysense.assessment.verify import verify
from skysense.errors import InputError, StorageError
from skysense.raster.crs import transformer

# The map: columns 0..9 water, 10..39 Wälder, 40..99 field. The truth: water reaches 3 columns further.
IDS = np.zeros((100, 110), np.uint8)
IDS[:, :10], IDS[:, 10:40], IDS[:, 40:100] = 1, 2, 7


@pytest.fixture
def path(tmp_path):
    return write_map(tmp_path / "m.tif", IDS)


@pytest.fixture
def sample(tmp_path, path, heard):
    draw_sample(path, tmp_path / "s.gpkg", heard, points=200, minimum=40, seed=5)
    return tmp_path / "s.gpkg"


def truth(sample):
    """What a perfect judge fills in."""
    _, xy = read_sample(sample)
    columns = (xy[:, 0] - 500_000) / 10
    return ["water" if column < 13 else "Wälder" if column < 40 else "field" for column in columns]


def test_the_estimate_follows_the_sample(tmp_path, path, sample, heard):
    reference = truth(sample)
    result = verify(path, fill_in(sample, reference), "reference", tmp_path / "e.csv", heard)
    classes = {item["name"]: item for item in result["classes"]}
    fields, _ = read_sample(sample)
    n = {name: int((fields["map_class"] == name).sum()) for name in NAMES.values()}
    wrong = sum(k == "Wälder" and r == "water" for k, r in zip(fields["map_class"], reference))
    assert wrong > 0 and result["points"] == 200 and result["counts"][1] == [wrong, n["Wälder"] - wrong, 0]
    # Water: all of its own stratum and the judged share of the Wälder stratum; UTM's 100 m² here are 100.08 on the ground.
    water, forest = (classes[name]["mapped_ha"] for name in ("water", "Wälder"))
    assert (water, forest) == pytest.approx((10.008, 30.024), rel=1e-5)
    p = wrong / n["Wälder"]
    assert classes["water"]["ha"] == pytest.approx(water + p * forest)
    assert classes["water"]["ha_ci95"] == pytest.approx(
        1.96 * forest * (p * (1 - p) / (n["Wälder"] - 1)) ** 0.5
    )
    assert classes["Wälder"]["users"] == pytest.approx(1 - p) and classes["field"]["users"] == 1
    assert sum(item["ha"] for item in classes.values()) == pytest.approx(result["ha"])
    assert abs(classes["water"]["ha"] - 13.01) < classes["water"]["ha_ci95"]  # what is truly there
    rows = list(csv.DictReader((tmp_path / "e.csv").open(encoding="utf-8")))
    assert [row["class"] for row in rows] == ["water", "Wälder", "field"]
    assert float(rows[0]["estimated_ha"]) == pytest.approx(classes["water"]["ha"], rel=1e-7)
    assert float(rows[1]["share: water"]) == pytest.approx(0.3 * p, rel=1e-6)
    assert rows[1]["points: water"] == str(wrong)


def test_names_in_any_case_ids_and_another_crs(tmp_path, path, sample, heard):
    reference = truth(sample)
    by_name = verify(path, fill_in(sample, reference), "reference", None, heard)
    ids = {name: i for i, name in NAMES.items()}
    mixed = [ids[name] if k % 3 else f" {name.upper()} " for k, name in enumerate(reference)]
    again = verify(
        path,
        fill_in(sample, [str(value) for value in mixed], tmp_path / "mixed.gpkg"),
        "reference",
        None,
        heard,
    )
    assert again["classes"] == by_name["classes"]
    # The user's own layer: a number field of another name, in degrees, without the drawn class.
    _, xy = read_sample(sample)
    degrees = np.column_stack(transformer("EPSG:32631", "EPSG:4326").transform(*xy.T))
    own = write_points(tmp_path / "own.gpkg", degrees, "EPSG:4326", seen=[ids[name] for name in reference])
    assert verify(path, own, "seen", None, heard)["classes"] == by_name["classes"]


def test_what_is_left_out_is_told(tmp_path, path, sample, heard):
    fields, xy = read_sample(sample)
    reference = truth(sample)
    fields["reference"] = np.array([None, "", "  ", *reference[3:]], object)
    xy[3] = 501_050, 5_599_500  # nothing is mapped there
    xy[4] = 400_000, 5_599_500  # beyond the edge
    result = verify(path, write_points(tmp_path / "p.gpkg", xy, **fields), "reference", None, heard)
    assert (result["points"], result["unfilled"], result["off_map"]) == (195, 3, 2)
    assert sum(item["points"] for item in result["classes"]) == 195
    assert [note.split(" points")[0] for note in heard.notes[:2]] == ["3", "2"]


def test_no_error_is_not_certainty(tmp_path, path, heard):
    draw_sample(path, tmp_path / "s.gpkg", heard, per_class=60)
    reference = truth(tmp_path / "s.gpkg")
    verify(path, fill_in(tmp_path / "s.gpkg", reference), "reference", None, heard)
    # Water and field are mapped as they are; of Wälder some is water. The rule of three: 3 / 60.
    assert len(heard.notes) == 1 and "water (5.0%), field (5.0%)" in heard.notes[0]


def test_a_class_that_is_not_mapped_can_be_found(tmp_path, heard):
    path = write_map(tmp_path / "m.tif", IDS, names={**NAMES, 9: "road"})
    draw_sample(path, tmp_path / "s.gpkg", heard, per_class=10)
    reference = truth(tmp_path / "s.gpkg")
    fields, _ = read_sample(tmp_path / "s.gpkg")
    reference[fields["map_class"].tolist().index("field")] = "road"
    result = verify(path, fill_in(tmp_path / "s.gpkg", reference), "reference", None, heard)
    road = result["classes"][-1]
    assert road["name"] == "road" and road["users"] is None and road["producers"] == 0
    assert road["ha"] == pytest.approx(60.0 / 10, rel=1e-3) and road["mapped_ha"] == 0


def test_a_map_without_names_goes_by_number(tmp_path, heard):
    path = write_map(tmp_path / "m.tif", IDS, names=None)
    draw_sample(path, tmp_path / "s.gpkg", heard, per_class=10)
    fields, _ = read_sample(tmp_path / "s.gpkg")
    filled = fill_in(tmp_path / "s.gpkg", [str(i) for i in fields["map_class_id"]])
    assert verify(path, filled, "reference", None, heard)["overall"] == 1.0


def test_a_class_of_one_pixel_is_known_for_sure(tmp_path, heard):
    ids = IDS.copy()
    ids[:, :10] = 2
    ids[50, 50] = 1
    path = write_map(tmp_path / "m.tif", ids)
    draw_sample(path, tmp_path / "s.gpkg", heard, per_class=10)
    fields, _ = read_sample(tmp_path / "s.gpkg")
    result = verify(path, fill_in(tmp_path / "s.gpkg", fields["map_class"]), "reference", None, heard)
    assert result["classes"][0]["points"] == 1 and result["classes"][0]["ha_ci95"] == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values: ["forrest", "forrest", *values[2:]], "'forrest' in 2 points"),
        (lambda values: [None] * len(values), "empty"),
        (lambda values: ["255", *values[1:]], "'255'"),
    ],
)
def test_what_cannot_be_a_reference(path, sample, heard, change, told):
    with pytest.raises(InputError) as raised:
        verify(path, fill_in(sample, change(truth(sample))), "reference", None, heard)
    assert told in str(raised.value)


def test_a_class_with_fewer_than_two_points(path, sample, heard):
    fields, _ = read_sample(sample)
    reference = [None if k == "water" else r for k, r in zip(fields["map_class"], truth(sample))]
    with pytest.raises(InputError, match=r"water \(0\)"):
        verify(path, fill_in(sample, reference), "reference", None, heard)
    reference[fields["map_class"].tolist().index("water")] = "water"
    sample.with_name("filled.gpkg").unlink()
    with pytest.raises(InputError, match=r"water \(1\).*uncertainty"):
        verify(path, fill_in(sample, reference), "reference", None, heard)


def test_a_sample_of_another_map(tmp_path, path, sample, heard):
    filled = fill_in(sample, truth(sample))
    other = IDS.copy()
    other[:, 10:20] = 7
    with pytest.raises(InputError, match="drawn in another class"):
        verify(write_map(tmp_path / "o.tif", other), filled, "reference", None, heard)


def test_layers_that_are_no_sample(tmp_path, path, sample, heard):
    box = shapely.to_wkb(np.array([shapely.box(500_000, 5_599_000, 500_100, 5_599_100)]))
    pyogrio.raw.write(
        tmp_path / "polygons.gpkg", box, [np.array(["water"], object)], ["reference"],
        driver="GPKG", geometry_type="Polygon", crs="EPSG:32631",
    )  # fmt: skip
    write_points(tmp_path / "no_crs.gpkg", [[0, 0]], None, reference=np.array(["water"], object))
    (tmp_path / "text.gpkg").write_text("no layer")
    for name, field, told in (
        ("polygons.gpkg", "reference", "points"),
        ("no_crs.gpkg", "reference", "coordinate system"),
        ("text.gpkg", "reference", "vector layer"),
        ("none.gpkg", "reference", "does not exist"),
        ("s.gpkg", "truth", "'truth'"),
    ):
        with pytest.raises(InputError, match=told):
            verify(path, tmp_path / name, field, None, heard)
    with pytest.raises(StorageError):
        verify(path, fill_in(sample, truth(sample)), "reference", tmp_path / "nowhere" / "e.csv", heard)


def test_the_estimate_is_unbiased_where_the_map_is_not(tmp_path, path, heard):
    """Drawn, judged and estimated 25 times: the map has 10 ha of water, the ground 13 ha."""
    found = []
    for seed in range(25):
        drawn = tmp_path / f"{seed}.gpkg"
        draw_sample(path, drawn, heard, points=200, minimum=40, seed=seed)
        filled = fill_in(drawn, truth(drawn), tmp_path / f"{seed}_filled.gpkg")
        found.append(verify(path, filled, "reference", None, heard)["classes"][0]["ha"])
    error = 30.02 * (0.1 * 0.9 / 53) ** 0.5  # of one estimate: 53 points in Wälder, of which a tenth is water
    assert np.mean(found) == pytest.approx(13.01, abs=3 * error / 25**0.5)
    assert np.std(found) == pytest.approx(error, rel=0.4)


def test_names_that_differ_in_capitals_only_are_told_apart(tmp_path, heard):
    path = write_map(tmp_path / "m.tif", IDS, names={1: "Water", 2: "water", 7: "2"})
    draw_sample(path, tmp_path / "s.gpkg", heard, per_class=10)
    fields, _ = read_sample(tmp_path / "s.gpkg")
    filled = fill_in(tmp_path / "s.gpkg", fields["map_class"], tmp_path / "f.gpkg")
    assert verify(path, filled, "reference", None, heard)["overall"] == 1.0
    unclear = ["WATER", *fields["map_class"][1:]]
    filled = fill_in(tmp_path / "s.gpkg", unclear, tmp_path / "u.gpkg")
    with pytest.raises(InputError, match=r"'WATER', which may be Water \(1\) or water \(2\)"):
        verify(path, filled, "reference", None, heard)


def test_the_class_that_a_point_was_drawn_in_may_be_a_text(tmp_path, path, sample, heard):
    fields, xy = read_sample(sample)
    reference = truth(sample)
    plain = verify(path, fill_in(sample, reference), "reference", None, heard)
    fields["reference"] = np.array(reference, object)
    ids = fields["map_class_id"]
    fields["map_class_id"] = np.array([f"{i}.0" for i in ids], object)
    text = write_points(tmp_path / "text.gpkg", xy, **fields)
    assert verify(path, text, "reference", None, heard)["classes"] == plain["classes"]
    for wrong in ("water", "2.5"):
        fields["map_class_id"] = np.array([wrong, *(str(i) for i in ids[1:])], object)
        broken = write_points(tmp_path / f"{wrong}.gpkg", xy, **fields)
        with pytest.raises(InputError, match=f"the field 'map_class_id' holds '{wrong}'"):
            verify(path, broken, "reference", None, heard)
