import pytest
from qgis.PyQt.QtCore import Qt

from skysense_qgis.dock.row import Row, RowError, bands_text, parse_bands, parse_date, row_from_scene
from skysense_qgis.dock.table import BANDS, DATE, LAYER, SENSOR, STATUS, AcquisitionModel

GREEN = {"status": "green", "reason": "", "modality": "s2", "date": "2020-05-01", "bands": {"B2": 1, "B3": 2}}


def model_with(*rows):
    model = AcquisitionModel()
    model.add(rows)
    return model


def text(model, row, column):
    return model.data(model.index(row, column))


def tip(model, row, column):
    return model.data(model.index(row, column), Qt.ItemDataRole.ToolTipRole)


@pytest.mark.parametrize(
    ("typed", "date"), [("2023-05-17", "2023-05-17"), (" 2023-5-7 ", "2023-05-07"), ("", None), ("  ", None)]
)
def test_dates_are_iso(typed, date):
    assert parse_date(typed) == date


@pytest.mark.parametrize(
    "typed", ["next tuesday", "17.05.2023", "2023-02-30", "2023", "20230517", "2023-13-01"]
)
def test_what_is_no_date_is_quoted(typed):
    with pytest.raises(RowError, match=typed):
        parse_date(typed)


def test_bands_are_typed_as_name_and_number():
    assert parse_bands("R=1, G: 2,B 3") == {"R": 1, "G": 2, "B": 3}
    assert parse_bands("") == {}
    assert bands_text({"R": 1, "B4": "b4.tif"}, edit=True) == "R=1, B4=b4.tif"
    with pytest.raises(RowError, match="names no band"):
        parse_bands("R")


def test_a_description_fills_the_row_but_not_what_was_stated():
    model = model_with(Row("/a/x.tif"), Row("/a/y.tif", date="2019-01-01", stated={"date"}))
    assert text(model, 0, STATUS) == "Looking at the file…" or model.rows[0].verdict[0] == "waiting"
    for row in model.rows:
        model.describe_row(row, GREEN)
    assert [text(model, 0, column) for column in (LAYER, SENSOR, DATE, BANDS, STATUS)] == [
        "x.tif",
        "Sentinel-2",
        "2020-05-01",
        "B2 B3",
        "Ready",
    ]
    assert text(model, 1, DATE) == "2019-01-01"
    assert model.rows[0].to_scene() == {
        "modality": "s2",
        "path": "/a/x.tif",
        "date": "2020-05-01",
        "bands": {"B2": 1, "B3": 2},
    }


def test_a_date_that_is_none_makes_the_row_red_and_says_so():
    model = model_with(Row("/a/x.tif"))
    model.describe_row(model.rows[0], GREEN)
    said = []
    model.refused.connect(said.append)
    assert model.setData(model.index(0, DATE), "soon")
    assert model.rows[0].verdict[0] == "red"
    assert said == ["x.tif: “soon” is not a date. Write it as year-month-day, for example 2023-05-17."]
    with pytest.raises(RowError):
        model.rows[0].to_scene()
    model.setData(model.index(0, DATE), "2021-6-1")
    assert (text(model, 0, DATE), model.rows[0].verdict[0]) == ("2021-06-01", "green")


def test_the_worst_verdict_counts_and_is_in_the_tooltip():
    model = model_with(Row("/a/x.tif"))
    model.describe_row(
        model.rows[0], {**GREEN, "status": "amber", "reason": "x.tif: is L1C, better use L2A."}
    )
    assert text(model, 0, STATUS) == "Is L1C, better use L2A."
    model.set_checks({0: ("red", "x.tif: does not overlap row 2.")})
    assert tip(model, 0, STATUS) == "Does not overlap row 2."
    assert tip(model, 0, LAYER) == "Does not overlap row 2.\n/a/x.tif"
    model.set_checks({})
    assert model.rows[0].verdict[0] == "amber"


def test_another_sensor_asks_the_worker_again():
    model = model_with(Row("/a/x.tif"))
    model.describe_row(model.rows[0], {"status": "red", "reason": "x.tif: the sensor is not known."})
    asked = []
    model.described_needed.connect(lambda: asked.append(1))
    assert not model.setData(model.index(0, SENSOR), "moon")
    assert model.setData(model.index(0, SENSOR), "hr")
    assert asked and not model.rows[0].described
    model.describe_row(model.rows[0], {**GREEN, "modality": "hr", "bands": {"R": 1}})
    assert (text(model, 0, SENSOR), text(model, 0, BANDS)) == ("High resolution", "R")


def test_typed_bands_stay_until_they_are_emptied():
    model = model_with(Row("/a/x.tif"))
    model.describe_row(model.rows[0], GREEN)
    model.setData(model.index(0, BANDS), "B2=3")
    model.describe_row(model.rows[0], GREEN)
    assert model.rows[0].bands == {"B2": 3}
    said = []
    model.refused.connect(said.append)
    assert not model.setData(model.index(0, BANDS), "B2")
    assert said
    model.setData(model.index(0, BANDS), "")
    assert not model.rows[0].described


def test_a_file_is_in_the_table_once_and_rows_can_go():
    model = model_with(Row("/a/x.tif"), Row("/a/y.tif"))
    assert model.add([Row("/a/x.tif"), Row("/a/z.tif")]) == 1
    model.remove([0, 2])
    assert [row.path for row in model.rows] == ["/a/y.tif"]


def test_a_scene_files_row_keeps_what_it_does_not_know(tmp_path):
    entry = {"modality": "s2", "path": "s2/x.tif", "date": None, "mask": "s2/scl.tif", "composite": "month"}
    row = row_from_scene(entry, tmp_path)
    row.take_description(GREEN)
    assert row.to_scene() == {
        "modality": "s2",
        "path": str(tmp_path / "s2/x.tif"),
        "date": None,  # a stated null is an answer: unknown
        "bands": {"B2": 1, "B3": 2},
        "mask": str(tmp_path / "s2/scl.tif"),
        "composite": "month",
    }
