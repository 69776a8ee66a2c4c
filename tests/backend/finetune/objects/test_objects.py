"""From drawn objects to a layer of found ones, through the runner, on small generated imagery."""

import json

import numpy as np
import pytest
import rasterio
import shapely
from rectangles import CRS, GSD, NORTH, WEST, draw, make_scene, on_ground, read_shapes, write_shapes
from skysense import cli
from skysense.errors import Cancelled, InputError
from skysense.finetune.objects import fit
from skysense.finetune.objects.boxes import boxes_of, overlaps
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.model.folder import built_in_model
from skysense.model.modelfile import load_model, save_model
from stopping import StopsAt

SIDE = 384
OBJECTS = {"target": "objects", "device": "cpu"}


def job(task, scene, output, control=None, **more):
    """Run one recipe; the notes go to the result's "notes"."""
    events = []
    data = {"skysense": 1, "task": task, "scene": str(scene), "output": str(output), **more}
    data["options"] = {"device": "cpu", **data.get("options", {})}
    result = run(parse_recipe(data, scene.parent), control or JobControl(events.append))
    return {**result, "notes": [e["text"] for e in events if e["event"] == "note"]}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A scene of 36 rectangles with their layer."""
    boxes = draw(np.random.default_rng(1), SIDE, 64, ((28, 14),))
    scene = make_scene(tmp_path_factory.mktemp("s") / "learned", boxes, SIDE)
    write_shapes(scene.parent / "roofs.gpkg", on_ground(boxes))
    return scene


@pytest.fixture(scope="module")
def trained(learned, tmp_path_factory):
    out = tmp_path_factory.mktemp("m") / "roofs.safetensors"
    options = {**OBJECTS, "report": str(out.parent / "report")}
    labels = {"path": str(learned.parent / "roofs.gpkg"), "field": "class"}
    return out, job("finetune", learned, out, labels=labels, options=options)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A larger scene that was not learned from, and its rectangles' boxes in metres; its tiles' edges cross it."""
    boxes = draw(np.random.default_rng(2), 640, 64, ((28, 14),))
    return make_scene(tmp_path_factory.mktemp("s") / "other", boxes, 640, seed=5), boxes_of(on_ground(boxes))


@pytest.fixture(scope="module")
def layer(other, trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("o") / "found.gpkg"
    found = job("predict", other[0], out, model=str(trained[0]))
    assert found["objects"] == str(out) and found["geometry"] == "Polygon"
    return out


def test_the_training_says_how_good_it_is(trained):
    path, result = trained
    header = load_model(path).header
    assert header["target"] == "objects" and header["inputs"]["modalities"] == ["hr"]
    report = result["report"]
    assert report["n_objects"] == result["objects"] == 36 and report["f1"] > 0.9 and report["ap"] > 0.9
    assert report["intervals"]["f1"][0] <= report["f1"] <= report["intervals"]["f1"][1]
    assert any("within 19.8 m of a drawn object that is not drawn" in note for note in result["notes"])
    folder = path.parent / "report"
    found = report["reliability"]["bins"]
    assert sum(item["n"] for item in found) == report["classes"][0]["found"]
    assert report["threshold"] <= min(item["high"] for item in found) and report["reliability"]["error"] < 0.2
    page = (folder / "report.html").read_text()
    assert "roof" in page and "how many of 100 such finds are objects" in page
    assert (folder / "classes.csv").read_text("utf-8-sig").startswith("id,class,objects,found,right,f1")
    assert json.loads((folder / "report.json").read_text())["report"] == json.loads(json.dumps(report))


def test_what_is_found_is_right(other, layer):
    shapes, columns, meta = read_shapes(layer)
    assert meta["crs"] == CRS and meta["geometry_type"] == "Polygon"
    assert list(columns) == ["class", "class_id", "confidence", "width_m", "height_m", "angle"]
    assert set(columns["class"]) == {"roof"} and set(columns["class_id"]) == {1}
    assert columns["confidence"].min() >= 1 and columns["confidence"].max() <= 100
    assert columns["confidence"].mean() > 80  # of what is found nearly all is right
    found, truth = boxes_of(shapes), other[1]
    i, j, iou = overlaps(found, truth)
    good = iou >= 0.5
    assert len(set(j[good])) == good.sum()  # none twice
    assert 2 * good.sum() / (len(found) + len(truth)) > 0.9
    distance = np.hypot(*(found[i[good], :2] - truth[j[good], :2]).T)
    assert np.median(distance) < 1.5 * GSD and np.quantile(distance, 0.95) < 3 * GSD
    turn = np.degrees(truth[j[good], 4]) - columns["angle"][i[good]]
    assert np.abs((turn + 90) % 180 - 90).max() < 15
    np.testing.assert_allclose(columns["width_m"], found[:, 2], atol=0.01)
    np.testing.assert_allclose(columns["height_m"], found[:, 3], atol=0.01)


def test_objects_go_from_north_to_south(layer):
    shapes, *_ = read_shapes(layer)
    y = shapely.get_y(shapely.centroid(shapes))
    assert (np.diff(y) <= 1e-6).all()


def test_those_of_a_part_are_those_of_the_whole_whose_centre_lies_in_it(other, trained, layer, tmp_path):
    west, south, east, north = area = [WEST + 61, NORTH - 290, WEST + 255, NORTH - 100]
    out = tmp_path / "part.gpkg"
    job(
        "predict", other[0], out, model=str(trained[0]), options={"area": area, "area_crs": CRS}
    )  # across the edges of tiles
    whole, columns, _ = read_shapes(layer)
    part, part_columns, _ = read_shapes(out)
    centre = shapely.centroid(whole)
    x, y = shapely.get_x(centre), shapely.get_y(centre)
    inside = (x >= west) & (x < east) & (y > south) & (y <= north)
    assert 10 < inside.sum() < len(whole)
    assert shapely.to_wkb(part).tolist() == shapely.to_wkb(whole[inside]).tolist()
    assert all((part_columns[name] == columns[name][inside]).all() for name in columns)


def test_finer_imagery_is_looked_at_with_the_pixels_of_the_training(trained, tmp_path):
    boxes = draw(np.random.default_rng(3), 256, 64, ((28, 14),))
    scene = make_scene(tmp_path / "fine", boxes, 256, gsd=0.2)
    job("predict", scene, tmp_path / "f.gpkg", model=str(trained[0]))
    found, truth = boxes_of(read_shapes(tmp_path / "f.gpkg")[0]), boxes_of(on_ground(boxes))
    iou = overlaps(found, truth)[2]
    assert 2 * (iou >= 0.5).sum() / (len(found) + len(truth)) > 0.9


def test_imagery_in_degrees_gives_boxes_in_degrees_and_metres(trained, other, tmp_path):
    with rasterio.open(other[0].parent / "hr.tif") as source:
        from rasterio.warp import calculate_default_transform, reproject

        transform, width, height = calculate_default_transform(
            CRS, "EPSG:4326", source.width, source.height, *source.bounds
        )
        values = np.zeros((3, height, width), np.uint8)
        reproject(
            source.read(),
            values,
            src_transform=source.transform,
            src_crs=CRS,
            dst_transform=transform,
            dst_crs="EPSG:4326",
        )
        profile = {
            **source.profile,
            "crs": "EPSG:4326",
            "transform": transform,
            "width": width,
            "height": height,
        }
    (tmp_path / "d").mkdir()
    with rasterio.open(tmp_path / "d" / "hr.tif", "w", **profile) as target:
        target.write(values)
    scene = tmp_path / "d" / "scene.json"
    scene.write_text(other[0].read_text())
    job("predict", scene, tmp_path / "f.gpkg", model=str(trained[0]))
    shapes, columns, meta = read_shapes(tmp_path / "f.gpkg")
    assert meta["crs"] == "EPSG:4326"
    assert np.abs(shapely.get_coordinates(shapes)[:, 0] - 9).max() < 0.01  # the zone's middle
    assert 90 <= len(shapes) <= 110 and 12 < np.median(columns["width_m"]) < 16


def test_nothing_to_be_found_is_an_empty_layer(trained, tmp_path):
    boxes = np.array([[1e5, 1e5, 4, 4, 0.0]])  # far off
    scene = make_scene(tmp_path / "empty", boxes, 128)
    assert job("predict", scene, tmp_path / "f.gpkg", model=str(trained[0]))["count"] == 0
    shapes, columns, _ = read_shapes(tmp_path / "f.gpkg")
    assert len(shapes) == 0 and "width_m" in columns


def test_cancel_leaves_the_old_layer(other, trained, tmp_path):
    out = tmp_path / "found.gpkg"
    out.write_bytes(b"the old layer")
    with pytest.raises(Cancelled):
        job("predict", other[0], out, control=StopsAt("Looking for objects"), model=str(trained[0]))
    assert out.read_bytes() == b"the old layer"
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, f"{out.name}.parts"]


def refused(learned, tmp_path, shapes, match, **more):
    labels = {"path": str(write_shapes(tmp_path / "l.gpkg", shapes)), "field": "class", **more}
    with pytest.raises(InputError, match=match):
        job("finetune", learned, tmp_path / "m.safetensors", labels=labels, options=OBJECTS)
    assert not (tmp_path / "m.safetensors").exists()


def test_points_and_polygons_together_are_refused(learned, tmp_path):
    shapes = [*on_ground(draw(np.random.default_rng(0), SIDE, 64)), shapely.Point(WEST + 5, NORTH - 5)]
    refused(
        learned,
        tmp_path,
        shapes,
        r"holds both points \(1\) and polygons \(36\).*Draw either points or polygons",
    )


def test_few_objects_are_refused(learned, tmp_path):
    shapes = on_ground(draw(np.random.default_rng(0), SIDE, 64)[:9])
    refused(learned, tmp_path, shapes, r"9 objects on the imagery are too few.*at least 10")


def test_objects_beside_the_imagery_are_refused(learned, tmp_path):
    shapes = shapely.transform(
        on_ground(draw(np.random.default_rng(0), SIDE, 64)), lambda xy: xy + np.array([50_000, 0])
    )
    refused(
        learned, tmp_path, shapes, r"no object lies on the high-resolution imagery.*Check the layer's CRS"
    )


def test_objects_beside_the_imagery_are_left_out_with_a_note(learned, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_STEPS", 1)
    monkeypatch.setattr(fit, "_ROUNDS", 1)
    drawn = on_ground(draw(np.random.default_rng(1), SIDE, 64, ((28, 14),)))
    far = shapely.transform(drawn, lambda xy: xy + np.array([90_000, 0]))
    labels = {"path": str(write_shapes(tmp_path / "l.gpkg", [*drawn, *far])), "field": "class"}
    result = job("finetune", learned, tmp_path / "m.safetensors", labels=labels, options=OBJECTS)
    assert result["objects"] == 36
    assert "36 of 72 objects lie beside the imagery, and were left out." in result["notes"]


def test_areas_of_points_are_refused(learned, tmp_path):
    areas = write_shapes(tmp_path / "a.gpkg", [shapely.Point(WEST, NORTH)])
    shapes = on_ground(draw(np.random.default_rng(0), SIDE, 64))
    refused(learned, tmp_path, shapes, r"areas a.gpkg: holds points, not polygons", areas=str(areas))


def test_a_map_is_no_layer(other, trained, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.gpkg"):
        job("predict", other[0], tmp_path / "map.tif", model=str(trained[0]))


def test_points_by_the_commands(learned, other, tmp_path, capsys):
    """Points of two classes, told by their size, with an area in which all are drawn; twice the same model."""
    boxes = draw(np.random.default_rng(7), SIDE, 64, ((26, 22), (10, 10)))
    scene = make_scene(tmp_path / "two", boxes, SIDE)
    names = np.where(boxes[:, 2] > 20, "large", "small")
    points = shapely.centroid(on_ground(boxes))
    labels = write_shapes(tmp_path / "points.gpkg", points, names)
    areas = write_shapes(
        tmp_path / "areas.gpkg", [shapely.box(WEST, NORTH - SIDE * GSD, WEST + SIDE * GSD, NORTH)]
    )
    model, out = tmp_path / "m.safetensors", tmp_path / "found.gpkg"
    given = ["--labels", str(labels), "--field", "class", "--areas", str(areas), "--target", "objects"]
    assert cli.main(["finetune", str(scene), *given, "--out", str(model), "--device", "cpu"]) == 0
    told = capsys.readouterr()
    assert "36 objects" in told.out and "centres at most" in told.out and "average precision" in told.out
    assert "Everything inside the areas that is not drawn counts as background" in told.err
    assert "find" in told.err and "no size" in told.err
    fresh = draw(np.random.default_rng(8), SIDE, 64, ((26, 22), (10, 10)))
    again = make_scene(tmp_path / "again", fresh, SIDE, seed=9)
    assert cli.main(["predict", str(again), "--model", str(model), "--out", str(out), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith(str(out))
    shapes, columns, meta = read_shapes(out)
    assert meta["geometry_type"] == "Point" and list(columns) == ["class", "class_id", "confidence"]
    truth = np.column_stack((WEST + GSD * fresh[:, 0], NORTH - GSD * fresh[:, 1]))
    distance = np.hypot(*(shapely.get_coordinates(shapes)[:, None] - truth[None]).transpose(2, 0, 1))
    nearest = distance.argmin(1)
    right = (distance.min(1) < 2 * GSD) & (
        np.where(fresh[nearest, 2] > 20, "large", "small") == columns["class"]
    )
    assert 2 * right.sum() / (len(shapes) + len(truth)) > 0.9


def test_the_same_seed_gives_the_same_model(learned, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_STEPS", 3)
    monkeypatch.setattr(fit, "_ROUNDS", 1)
    labels = {"path": str(learned.parent / "roofs.gpkg"), "field": "class"}
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    for path in (one, other):
        job("finetune", learned, path, labels=labels, options={**OBJECTS, "seed": 3})
    assert one.read_bytes() == other.read_bytes()


def test_a_backbone_that_is_of_use_on_hr_is_looked_at(learned, tmp_path, monkeypatch):
    """The built-in model under another name is one of which nothing bad is known."""
    monkeypatch.setattr(fit, "_STEPS", 2)
    monkeypatch.setattr(fit, "_ROUNDS", 1)
    backbone = tmp_path / "backbone.safetensors"
    backbone.write_bytes(built_in_model().read_bytes())
    labels = {"path": str(learned.parent / "roofs.gpkg"), "field": "class"}
    model, out = tmp_path / "m.safetensors", tmp_path / "found.gpkg"
    job("finetune", learned, model, labels=labels, model=str(backbone), options=OBJECTS)
    found = load_model(model)
    stages = [f"hr.{number}" for number in (1, 2, 3, 4)]
    assert [name for name, _ in found.header["head"]["blocks"]] == [*stages, "hr.bands"]
    assert found.tensors["objects.seen.3.weight"].abs().sum() > 0
    found.header["head"]["threshold"] = 0.0  # it has hardly learned, and shows every peak
    save_model(model, found.header, found.tensors)
    seen = job("predict", learned, out, model=str(model))["count"]
    found.tensors["objects.seen.1.bias"] += 3
    save_model(model, found.header, found.tensors)
    shapes, *_ = read_shapes(out)
    assert job("predict", learned, out, model=str(model))["count"] > 0 < seen
    assert shapely.to_wkb(shapes).tolist() != shapely.to_wkb(read_shapes(out)[0]).tolist()
