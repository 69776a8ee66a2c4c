"""Label layers as people have them: geometries, CRS, bad features, and which pixels they label."""

import json
import sqlite3

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from label_files import NORTH, WEST, spot, square, write
from skysense.errors import InputError
from skysense.finetune.labels import LabelledPolygons, PixelLabels, read_labels
from skysense.raster.grid import Lattice, Window
from skysense.scene.acquisition import Labels

LATTICE = Lattice("EPSG:32632", 10.0)


def read(path, field="class", layer=None, crs="EPSG:32632", root=None):
    return read_labels(Labels(path, field, layer), crs, root)


def grid(col=0, row=0, width=20, height=20):
    first = Window(round(-NORTH / 10) + row, round(WEST / 10) + col, height, width)
    return LATTICE.grid(first)


def pixels_of(shapes, ids=None, on=None):
    """{(row, col): (id, polygon)} and the disputes."""
    ids = np.array(ids or [1] * len(shapes))
    labels = LabelledPolygons(np.array(shapes, object), ids, {1: "a", 2: "b", 3: "c"}, "labels")
    found, disputes = PixelLabels(labels).within(on or grid())
    places = zip(found.rows.tolist(), found.cols.tolist())
    return dict(zip(places, zip(found.ids.tolist(), found.polygons.tolist()))), dict(disputes)


# -- reading


def test_points_and_polygons_of_any_kind_are_single_groups(tmp_path):
    shapes = [
        spot(1, 1),
        shapely.MultiPoint([spot(3, 3), spot(5, 5)]),
        shapely.MultiPolygon([square(0, 10, 2, 2), square(4, 10, 2, 2)]),
        shapely.GeometryCollection([spot(9, 9), square(10, 10, 1, 1)]),
        shapely.force_3d(square(12, 12, 2, 2), 7.0),
    ]
    found = read(write(tmp_path / "l.gpkg", shapes, **{"class": ["a", "b", "a", "b", "a"]}))
    assert [shape.geom_type for shape in found.polygons] == ["Point"] * 3 + ["Polygon"] * 2 + ["Point"] + [
        "Polygon"
    ] * 2
    assert found.ids.tolist() == [1, 2, 2, 1, 1, 2, 2, 1] and found.notes == ()
    assert not shapely.has_z(found.polygons).any()


def wkb_of(tmp_path, *wkt):
    """As GDAL hands out geometries that shapely cannot make."""
    table = tmp_path / "shapes.csv"
    table.write_text("WKT\n" + "\n".join(f'"{text}"' for text in wkt))
    return list(pyogrio.raw.read(table)[2])


def test_curves_become_chains_of_lines(tmp_path):
    shapes = wkb_of(
        tmp_path, "CURVEPOLYGON(CIRCULARSTRING(0 0,4 0,4 4,0 4,0 0))", "MULTISURFACE(((8 0,9 0,9 1,8 0)))"
    )
    found = read(write(tmp_path / "l.gpkg", shapes, **{"class": ["a", "b"]}))
    assert [shape.geom_type for shape in found.polygons] == ["Polygon", "Polygon"]
    assert found.polygons[0].area > 16  # a bulging square, not the square of its corners


def test_layers_in_another_crs_meet_the_imagery(tmp_path):
    to = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    shapes = [square(0, 0, 3, 3), square(5, 5, 3, 3)]
    degrees = [shapely.transform(s, lambda xy: np.column_stack(to.transform(*xy.T))) for s in shapes]
    found = read(write(tmp_path / "l.gpkg", degrees, crs="EPSG:4326", **{"class": ["a", "b"]}))
    for shape, expected in zip(found.polygons, shapes):
        np.testing.assert_allclose(shape.bounds, expected.bounds, atol=1e-3)


def test_crossed_rings_are_repaired_and_what_cannot_be_used_is_counted(tmp_path):
    bowtie = shapely.Polygon([(WEST, NORTH), (WEST + 40, NORTH - 40), (WEST + 40, NORTH), (WEST, NORTH - 40)])
    flat = shapely.Polygon([(WEST, NORTH), (WEST + 40, NORTH), (WEST + 80, NORTH)])
    shapes = [
        bowtie,
        flat,
        None,
        shapely.Polygon(),
        square(9, 9, 2, 2),
        square(9, 9, 2, 2),
        square(1, 9, 2, 2),
    ]
    names = ["a", "a", "b", "b", "b", "b", None]
    found = read(write(tmp_path / "l.gpkg", shapes, **{"class": np.array(names, object)}))
    assert found.ids.tolist() == [1, 2] and found.polygons[0].area == 800
    assert found.notes == (
        "Features of the labels that were left out: 3 without a usable geometry, 1 without a class, "
        "1 that another one repeats.",
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Registering non-standard")
def test_surfaces_in_space_are_left_out(tmp_path):
    tin = wkb_of(tmp_path, "TIN Z(((0 0 0,0 0 1,0 1 0,0 0 0)))")
    shapes = [*tin, square(0, 0, 2, 2), square(3, 3, 2, 2)]
    found = read(write(tmp_path / "l.gpkg", shapes, **{"class": ["a", "a", "b"]}))
    assert found.ids.tolist() == [1, 2]
    assert found.notes == ("Features of the labels that were left out: 1 without a usable geometry.",)


def test_a_place_that_the_crs_cannot_hold_is_kept_as_an_empty_polygon(tmp_path):
    shapes = [
        shapely.box(9, 48, 9.001, 48.001),
        shapely.box(9, 48.1, 9.001, 48.101),
        shapely.box(1e4, 1e4, 2e4, 2e4),
    ]
    found = read(write(tmp_path / "l.gpkg", shapes, crs="EPSG:4326", **{"class": ["a", "b", "b"]}))
    assert shapely.is_empty(found.polygons).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("shapes", "names", "message"),
    [
        ([], [], "has no features"),
        ([shapely.Polygon()], ["a"], "no feature has an area or a place"),
        ([square(0, 0, 1, 1), shapely.LineString([(0, 0), (1, 1)])], ["a", "b"], "holds LineString features"),
        ([square(0, 0, 1, 1), square(2, 2, 1, 1)], ["a", "a"], r"has only one class \(a\)"),
        ([square(0, 0, 1, 1), None], ["a", "b"], r"has only one class \(a\)"),
        ([square(0, 0, 1, 1)], [None], "the field 'class' is empty in every feature"),
    ],
)
def test_layers_that_cannot_be_used(tmp_path, shapes, names, message):
    path = write(tmp_path / "l.gpkg", shapes, **{"class": np.array(names, object)})
    with pytest.raises(InputError, match=message):
        read(path)


def test_a_layer_without_a_crs_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="crs"):
        path = write(tmp_path / "l.gpkg", [square(0, 0, 1, 1)], crs=None, **{"class": ["a"]})
    with pytest.raises(InputError, match="coordinate system"):
        read(path)


def test_the_layer_must_be_chosen_where_there_are_several_but_saved_styles_are_none(tmp_path):
    names = {"class": ["a", "b"]}
    path = write(tmp_path / "l.gpkg", [square(0, 0, 1, 1), square(2, 2, 1, 1)], layer="mine", **names)
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE layer_styles (id INTEGER PRIMARY KEY, styleQML TEXT)")
        file.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('layer_styles', 'attributes', 'layer_styles')"
        )
    file.close()
    assert len(read(path).ids) == 2
    write(path, [square(0, 0, 2, 2), square(3, 3, 1, 1)], layer="other", **names)
    with pytest.raises(InputError, match=r"has 2 layers\. Choose one of mine, other"):
        read(path)
    assert read(path, layer="other").polygons[0].area == 400


def test_a_class_field_of_numbers_and_text(tmp_path):
    path = tmp_path / "l.geojson"
    features = [
        {"type": "Feature", "properties": {"class": value}, "geometry": shapely.geometry.mapping(shapely.box(9, 48, 9.1, 48.1 + i))}
        for i, value in enumerate([7, "water"])
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = read(path)
    assert found.names == {1: "7", 2: "water"}
    assert found.notes[0].startswith(
        "The field 'class' holds text, such as 'water', and numbers written as text, such as '7'"
    )


# -- labelling pixels


def test_a_small_polygon_labels_the_pixels_whose_centres_it_holds():
    found, _ = pixels_of([square(1.4, 1.6, 2.2, 1.0)])
    assert sorted(found) == [(2, 1), (2, 2), (2, 3)] and set(found.values()) == {(1, 0)}


def test_a_large_polygon_labels_whole_pixels_only():
    found, _ = pixels_of([square(1.4, 1.4, 8.2, 8.2)])  # pixels 2..8 are whole, 1 and 9 are cut
    assert sorted(found) == [(row, col) for row in range(2, 9) for col in range(2, 9)]


def test_no_polygon_is_lost():
    slivers = [square(2.1, 2.1, 0.2, 0.2), square(0, 10.1, 15, 0.2), square(19.9, 5, 0.05, 0.05)]
    found, _ = pixels_of(slivers)
    assert found == {(2, 2): (1, 0), (10, 7): (1, 1), (5, 19): (1, 2)}


def test_a_point_labels_the_pixel_that_holds_it_in_one_grid_only():
    shapes = [
        spot(3.5, 3.5),
        spot(4, 4),
        spot(20, 7),
    ]  # the second on a corner, the third on the edge of two grids
    assert pixels_of(shapes)[0] == {(3, 3): (1, 0), (4, 4): (1, 1)}
    assert pixels_of(shapes, on=grid(col=20))[0] == {(7, 0): (1, 2)}


@pytest.mark.parametrize("cut", [(7, 20), (3, 5)])
def test_grids_side_by_side_label_what_one_grid_labels(cut):
    shapes = [
        square(1.3, 1.2, 11.4, 10.9),
        square(6.4, 4.6, 1.1, 14),
        square(2.8, 14.1, 0.3, 0.2),
        spot(7, 19),
    ]
    whole, disputes = pixels_of(shapes, [1, 2, 3, 1])
    apart, counted = {}, 0
    for col, width in ((0, cut[0]), (cut[0], 20 - cut[0])):
        for row, height in ((0, cut[1]), (cut[1], 20 - cut[1])):
            if height:
                found, more = pixels_of(shapes, [1, 2, 3, 1], grid(col, row, width, height))
                apart |= {(r + row, c + col): value for (r, c), value in found.items()}
                counted += more.get((1, 2), 0)
    assert apart == whole and disputes == {(1, 2): counted} and counted > 0


def test_pixels_of_two_classes_belong_to_none_and_are_counted():
    found, disputes = pixels_of([square(0, 0, 3, 2), square(2, 0, 3, 2), square(2, 1, 1, 3)], [1, 2, 3])
    assert disputes == {(1, 2): 2}
    assert (0, 2) not in found and (1, 2) not in found
    assert {found[0, 1], found[0, 3], found[3, 2]} == {(1, 0), (2, 1), (3, 2)}


def test_pixels_of_two_polygons_of_a_class_count_once():
    found, disputes = pixels_of([square(0, 0, 3, 2), square(2, 0, 3, 2)])
    assert disputes == {} and len(found) == 10 and found[0, 2] == (1, 0)
