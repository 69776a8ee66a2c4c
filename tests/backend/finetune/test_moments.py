"""Which images stand for the dates of labels."""

import datetime
from pathlib import Path

import numpy as np
import pytest
from label_files import square, write
from skysense.errors import InputError
from skysense.finetune.labels import PixelLabels, label_dates, read_labels
from skysense.finetune.moments import choose_moment, find_moments
from skysense.finetune.series import Anchors, day_number
from skysense.raster.grid import Lattice
from skysense.scene.acquisition import Acquisition, Labels, Scene


def day(text):
    return datetime.date.fromisoformat(text)


def make_scene(**dates):
    """A scene of images of these dates ("" = none) by modality; S2 has masks."""
    images = [
        Acquisition(
            modality, Path(f"{modality}_{n}.tif"), day(text) if text else None, {}, mask=Path("m.tif") if modality == "s2" else None
        )
        for modality, texts in dates.items()
        for n, text in enumerate(texts)
    ]  # fmt: skip
    return Scene("site", tuple(images), None, Path("."))


def found(scene, *dates):
    """The moments of dates, and the notes."""
    notes = []
    return find_moments(scene, [day(text) for text in dates], "labels", notes.append), notes


def paths(moment):
    return [item.path.name for item in moment.scene.acquisitions]


# -- the images of a date


def test_a_date_has_the_nearest_day_of_each_sensor_with_all_its_images():
    scene = make_scene(
        s2=["2023-05-01", "2023-05-11", "2023-05-11"], s1=["2023-05-02", "2023-05-14", "2023-05-20"]
    )
    moments, notes = found(scene, "2023-05-10", "2023-05-11", "2023-05-03")
    late, early = moments.at[day("2023-05-10")], moments.at[day("2023-05-03")]
    assert paths(late) == ["s2_1.tif", "s2_2.tif", "s1_1.tif"] and paths(early) == ["s2_0.tif", "s1_0.tif"]
    assert moments.at[day("2023-05-11")] == late and moments.each == [late, early] and notes == []
    assert late.text == "2023-05-11/2023-05-14"
    assert late.told == "Sentinel-2 of 2023-05-11, Sentinel-1 of 2023-05-14"
    columns = {"s2": Anchors(("B2", "B8"), ()), "s1": Anchors(("VV",), ())}
    assert late.anchors(columns) == {
        "s2": Anchors(("B2", "B8"), (day_number(day("2023-05-11")),)),
        "s1": Anchors(("VV",), (day_number(day("2023-05-14")),)),
    }


def test_of_two_days_as_near_the_earlier_counts_and_30_days_are_the_most():
    scene = make_scene(s2=["2023-05-01", "2023-05-11"])
    moments, _ = found(scene, "2023-04-01", "2023-05-06", "2023-06-10")
    assert [moment.text for moment in moments.at.values()] == ["2023-05-01", "2023-05-01", "2023-05-11"]
    with pytest.raises(InputError, match=r"no date of the polygons \(2023-03-31, 2023-06-11\) has an image"):
        found(scene, "2023-03-31", "2023-06-11")


def test_dates_and_sensors_without_images_are_left_out_and_told():
    scene = make_scene(
        hr=["", "2020-01-01"], s2=["2023-05-01", "2023-08-01"], s1=["2023-05-01", "2023-10-20"]
    )
    moments, notes = found(scene, "2022-01-01", "2023-05-01", "2023-08-01")
    assert list(moments.at) == [day("2023-05-01"), day("2023-08-01")]
    assert {item.modality for item in moments.scene.acquisitions} == {"s2"}
    assert len(moments.scene.acquisitions) == 2 and len(moments.each) == 2
    assert len(notes) == 3 and "at most 30 days off 2022-01-01: the polygons of these dates" in notes[0]
    assert "off 2023-05-01, 2023-08-01, so it is not used" in notes[1]
    assert notes[2] == "Sentinel-1 has no dated image at most 30 days off 2023-08-01, so it is not used."


def test_no_sensor_with_images_near_all_dates_is_a_sentence():
    scene = make_scene(s2=["2023-05-01"], s1=["2023-08-01"])
    with pytest.raises(
        InputError, match=r"no sensor has images near all dates.*Sentinel-2 has no.*2023-08-01"
    ):
        found(scene, "2023-05-01", "2023-08-01")


def test_many_dates_are_counted():
    scene = make_scene(s2=["2023-05-01"])
    old = [f"20{n:02d}-01-01" for n in range(9)]
    notes = found(scene, *old, "2023-05-01")[1]
    assert "2000-01-01, 2001-01-01" in notes[0] and "2005-01-01 and 3 more" in notes[0]


def test_what_is_not_known_of_clouds_is_told():
    scene = make_scene(s2=["2023-05-01"])
    bare = Scene("site", (Acquisition("s2", Path("a.tif"), day("2023-05-01"), {}),), None, Path("."))
    assert found(scene, "2023-05-01")[1] == []
    assert "clouds are known from masks only" in found(bare, "2023-05-01")[1][0]


# -- the moment that is mapped


def test_without_a_date_the_newest_is_mapped_near_which_every_sensor_has_images():
    scene = make_scene(s2=["2023-05-01", "2023-06-01"], s1=["2023-05-20", "2023-06-20", "2023-09-01"])
    assert (
        choose_moment(scene, ["s2", "s1"], None).told == "Sentinel-2 of 2023-06-01, Sentinel-1 of 2023-06-20"
    )
    assert choose_moment(scene, ["s1"], None).text == "2023-09-01"
    apart = make_scene(s2=["2023-05-01"], s1=["2023-09-01"])
    with pytest.raises(InputError, match="no date near which there are images of Sentinel-2, Sentinel-1"):
        choose_moment(apart, ["s2", "s1"], None)


def test_the_moment_nearest_to_the_given_day_is_mapped():
    scene = make_scene(s2=["2023-05-01", "2023-06-01"], s1=["2023-05-01"])
    assert choose_moment(scene, ["s2"], "2023-05-20").text == "2023-06-01"
    assert paths(choose_moment(scene, ["s2"], "2023-05-02")) == ["s2_0.tif"]
    with pytest.raises(
        InputError,
        match=r"has no Sentinel-1 image at most 30 days off 2023-06-20 \(they are of 2023-05-01 to",
    ):
        choose_moment(scene, ["s2", "s1"], "2023-06-20")
    with pytest.raises(InputError, match="none has a date"):
        choose_moment(make_scene(hr=[""]), ["hr"], "2023-06-20")


# -- dates of label layers


def layer(tmp_path, when, names=None, shapes=None):
    shapes = shapes or [square(4 * n, 0, 3, 3) for n in range(len(when))]
    names = names or ["water", "land"] * len(when)
    path = write(tmp_path / "l.gpkg", shapes, **{"class": np.array(names[: len(when)], object), "when": when})
    return Labels(path, "class", date_field="when")


@pytest.mark.parametrize(
    "when",
    [
        np.array(["2023-05-01", "2023-08-02", "NaT"], "datetime64[D]"),
        np.array(["2023-05-01T10:50:31", "2023-08-02T23:59:00", "NaT"], "datetime64[ms]"),
        np.array(["2023-05-01", " 2023-08-02 ", None], object),
        np.array(["2023-05-01T10:50:31Z", "S2A_MSIL2A_20230802T105031_N0509_R051_T31UDQ_20230802T160000", ""], object),
        np.array([20230501, 20230802, np.nan]),
    ],
    ids=["date", "datetime", "text", "product", "number"],
)  # fmt: skip
def test_dates_are_read_from_fields_of_any_kind(tmp_path, when):
    labels = layer(tmp_path, when)
    assert label_dates(labels) == ([day("2023-05-01"), day("2023-08-02")], "labels l.gpkg")
    polygons = read_labels(labels, "EPSG:32632", None)
    assert polygons.dates.tolist() == [day("2023-05-01"), day("2023-08-02")]
    assert polygons.notes == ("Features of the labels that were left out: 1 without a date.",)


@pytest.mark.parametrize("text", ["May", "2023-13-01", "2023-05-01 to 2023-05-09", "5"])
def test_a_bad_date_names_row_and_value(tmp_path, text):
    labels = layer(tmp_path, np.array(["2023-05-01", text], object))
    with pytest.raises(InputError, match=f"'when' holds no date but '{text}' in row 2"):
        label_dates(labels)


def test_no_date_and_no_field_of_dates_are_sentences(tmp_path):
    labels = layer(tmp_path, np.array([None, None], object))
    with pytest.raises(InputError, match="the field 'when' is empty in every feature"):
        label_dates(labels)
    with pytest.raises(InputError, match=r"has no field 'day' \(its fields: class, when\)"):
        label_dates(Labels(labels.path, "class", date_field="day"))


def test_dates_of_features_without_a_class_or_a_geometry_do_not_count(tmp_path):
    shapes = [square(0, 0, 3, 3), square(4, 0, 3, 3), None, square(8, 0, 3, 3)]
    when = np.array(["2023-05-01", "2020-01-01", "2021-01-01", "2023-05-02"], object)
    labels = layer(tmp_path, when, ["water", None, "land", "land"], shapes)
    assert label_dates(labels)[0] == [day("2023-05-01"), day("2023-05-02")]


def test_the_same_place_on_another_day_is_another_polygon_and_no_dispute(tmp_path):
    shapes = [square(0, 0, 3, 3)] * 3 + [square(0, 0, 3, 3)]
    when = np.array(["2023-05-01", "2023-05-01", "2023-08-02", "2023-11-01"], object)
    labels = read_labels(
        layer(tmp_path, when, ["water", "water", "water", "land"], shapes), "EPSG:32632", None
    )
    assert labels.dates.tolist() == [day("2023-05-01"), day("2023-08-02"), day("2023-11-01")]
    assert labels.notes == ("Features of the labels that were left out: 1 that another one repeats.",)
    lattice = Lattice("EPSG:32632", 10.0)
    grid = lattice.grid(lattice.window_of(labels.polygons[0].bounds))
    every = PixelLabels(labels)
    assert every.within(grid)[1].total() == 9 and len(every.within(grid)[0].rows) == 0
    for number, expected in ((0, 2), (1, 2), (2, 1)):
        part = every.only(np.arange(3) == number)
        pixels, disputes = part.within(grid)
        assert part.meeting(grid).tolist() == [number] and not disputes
        assert pixels.ids.tolist() == [expected] * 9 and set(pixels.polygons.tolist()) == {number}
