"""Where to draw next, from map files to the point layer."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from embedding_files import CRS, X, Y, write_embedding
from skysense.cli import main
from skysense.errors import InputError
from skysense.inference.suggest import suggest
from skysense.jobs.control import JobControl

NAMES = {"1": "wheat", "2": "Wälder"}


def write(path, values, **tags):
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=values.shape[0], width=values.shape[1], dtype="uint8", crs=CRS,
        transform=Affine(10, 0, X, 0, -10, Y), nodata=0,
    ) as dataset:  # fmt: skip
        dataset.write(values.astype(np.uint8), 1)
        dataset.update_tags(**tags)
    return path


def write_maps(folder, ids, confidence):
    write(folder / "m_confidence.tif", confidence)
    return write(folder / "m.tif", ids, SKYSENSE_CLASSES=json.dumps(NAMES))


def read(path):
    """Fields by name, and (row, col) of the pixel under each point."""
    meta, _, geometry, values = pyogrio.raw.read(path, layer="suggestions")
    xy = shapely.get_coordinates(shapely.from_wkb(geometry))
    assert meta["crs"] == CRS and (xy % 10 == 5).all()
    return dict(zip(meta["fields"], values)), np.stack([(Y - xy[:, 1]) // 10, (xy[:, 0] - X) // 10], 1)


@pytest.fixture
def control():
    control = JobControl(
        lambda event: control.notes.append(event["text"]) if event["event"] == "note" else None
    )
    control.notes = []
    return control


def test_an_unsure_patch_comes_before_a_sharp_edge(tmp_path, control):
    ids = np.full((200, 300), 1)
    ids[:, 150:] = 2
    confidence = np.full(ids.shape, 95)
    confidence[:, 149:151] = 5  # the edge of two classes, nowhere surer than 5 %
    confidence[90:120, 240:270] = 43
    result = suggest(write_maps(tmp_path, ids, confidence), tmp_path / "p.gpkg", control, points=6)
    fields, places = read(tmp_path / "p.gpkg")
    assert list(fields) == ["rank", "class_id", "class", "confidence", "novelty", "why"]
    assert fields["rank"].tolist() == [1, 2, 3, 4, 5, 6] == [item["rank"] for item in result["points"]]
    assert fields["why"][0] == "unsure: 43 % Wälder" and fields["confidence"][0] == 43
    row, col = places[0]
    assert 97 <= row < 113 and 247 <= col < 263  # 15 x 15 pixels around it lie in the patch
    assert np.isnan(fields["novelty"]).all() and not control.notes
    # 95 % but for 2 of 15 columns at 5 %
    assert fields["confidence"].tolist()[1:3] == [83, 83]


def test_points_lie_apart_and_no_region_takes_all(tmp_path, control):
    # Everything unsure lies in one corner: it gets the first points, others go elsewhere.
    ids, confidence = np.ones((400, 400)), np.full((400, 400), 90)
    confidence[:160, :160] = 30
    suggest(write_maps(tmp_path, ids, confidence), tmp_path / "p.gpkg", control, points=25)
    fields, places = read(tmp_path / "p.gpkg")
    assert len(places) == 25
    spacing = 400 / 5
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert apart[~np.eye(25, dtype=bool)].min() >= spacing / 2
    corner = (places < 160).all(1)
    assert corner.sum() == 8  # a region of 160 pixels: twice its share of four
    assert corner[:8].all() and (fields["confidence"][:8] < 70).all()
    again = tmp_path / "again"
    again.mkdir()
    suggest(write_maps(again, ids, confidence), again / "p.gpkg", control, points=25)
    assert (read(again / "p.gpkg")[1] == places).all()


def test_what_is_not_mapped_is_never_suggested_and_slivers_come_last(tmp_path, control):
    ids, confidence = np.zeros((96, 96)), np.zeros((96, 96))
    ids[:, :48], confidence[:, :48] = 1, 60
    ids[40, 80], confidence[40, 80] = 2, 1  # one lonely pixel
    suggest(write_maps(tmp_path, ids, confidence), tmp_path / "p.gpkg", control, points=1000)
    fields, places = read(tmp_path / "p.gpkg")
    assert 100 < len(places) < 1000 and f"room for {len(places)} places" in control.notes[0]
    assert fields["class_id"].tolist()[:-1] == [1] * (len(places) - 1)
    assert places[-1].tolist() == [40, 80] and fields["why"][-1] == "unsure: 1 % Wälder"
    assert (fields["confidence"][:-1] == 60).all()


def test_windows_do_not_show(tmp_path, control):
    """The patch lies across the corner of four windows of 512 x 4096 pixels."""
    ids, confidence = np.ones((700, 4300)), np.full((700, 4300), 90)
    confidence[504:520, 4088:4104] = 20
    suggest(write_maps(tmp_path, ids, confidence), tmp_path / "p.gpkg", control, points=1)
    fields, places = read(tmp_path / "p.gpkg")
    assert fields["confidence"].tolist() == [20]
    assert 511 <= places[0][0] <= 512 and 4095 <= places[0][1] <= 4096


@pytest.fixture
def embedded(tmp_path):
    """Two kinds of ground that are labelled, and a patch of a third that no polygon knows; the map is sure of it."""
    random = np.random.default_rng(0)
    values = random.normal(0, 0.1, (5, 128, 128))
    values[0, :, :64] += 3
    values[1, :, 64:] += 3
    values[:, 40:72, 88:120] = random.normal(0, 0.1, (5, 32, 32))
    values[2, 40:72, 88:120] += 8
    values[:, 120:, 120:] = np.nan
    write_embedding(tmp_path / "e.tif", values)
    squares = [(r, c) for r in (5, 30, 60, 90) for c in (5, 30, 70, 78)]
    boxes = [shapely.box(X + 10 * c, Y - 10 * (r + 6), X + 10 * (c + 6), Y - 10 * r) for r, c in squares]
    pyogrio.raw.write(
        tmp_path / "l.gpkg", shapely.to_wkb(np.array(boxes)), [np.arange(16)], ["n"], driver="GPKG",
        geometry_type="Polygon", crs=CRS,
    )  # fmt: skip
    ids, confidence = np.where(np.arange(128) < 64, 1, 2) * np.ones((128, 1)), np.full((128, 128), 90)
    confidence[80:110, 10:40] = 55
    return write_maps(tmp_path, ids, confidence)


def test_a_sure_map_of_what_nobody_labelled(tmp_path, embedded, control, capsys):
    folder = tmp_path
    assert main(["suggest", str(embedded), "--out", str(folder / "p.gpkg"), "--points", "4", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)["points"]
    assert plain[0]["why"] == "unsure: 55 % wheat" and plain[0]["novelty"] is None
    arguments = ["--embedding", str(folder / "e.tif"), "--labels", str(folder / "l.gpkg"), "--points", "4"]
    assert main(["suggest", str(embedded), "--out", str(folder / "p.gpkg"), *arguments]) == 0
    assert "unlike anything labelled, shown as Wälder" in capsys.readouterr().out
    fields, places = read(folder / "p.gpkg")
    assert 40 <= places[0][0] < 72 and 88 <= places[0][1] < 120 and fields["novelty"][0] > 3
    assert fields["confidence"][0] == 90
    assert fields["why"].tolist().index("unsure: 55 % wheat") in (1, 2)
    # What is like the labels stays within the threshold.
    assert (fields["novelty"][[why.startswith("unsure") for why in fields["why"]]] <= 1).all()


def test_bad_input_is_told_and_loses_nothing(tmp_path, embedded, control):
    out, labels = tmp_path / "p.gpkg", tmp_path / "l.gpkg"

    def refused(match, path=embedded, to=out, **more):
        with pytest.raises(InputError, match=match) as raised:
            suggest(path, to, control, **more)
        assert "\n" not in raised.value.sentence

    before = labels.read_bytes()
    refused("something else", to=labels)
    assert labels.read_bytes() == before
    refused("gpkg", to=tmp_path / "p.shp")
    refused("both", labels=labels)
    refused("number of points", points=0)
    refused("no embedding", embedding=embedded, labels=labels)
    refused("does not exist", embedding=tmp_path / "none.tif", labels=labels)
    refused("does not exist", embedding=tmp_path / "e.tif", labels=tmp_path / "none.gpkg")
    far = write_embedding(tmp_path / "far.tif", np.ones((2, 8, 8)), gsd=0.001)
    refused("two polygons|holds anything", embedding=far, labels=labels)
    alone = write(tmp_path / "alone.tif", np.ones((20, 20)))
    refused("alone_confidence.tif", path=alone)
    write(tmp_path / "alone_confidence.tif", np.ones((20, 21)))
    refused("not the confidence", path=alone)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused("nothing is mapped", path=write_maps(empty, np.zeros((20, 20)), np.zeros((20, 20))))
    assert not out.exists() and not list(tmp_path.glob("*.part*"))
    assert suggest(embedded, out, control, points=1)["points"] and suggest(embedded, out, control, points=2)
