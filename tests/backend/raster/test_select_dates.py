"""Dates of a series chosen once for a scene: exact picks, from masks and from the cloud test, and what stays."""

import numpy as np
import pytest
from raster_files import acquisition, scene, write_raster
from skysense.errors import InputError
from skysense.jobs.recipe import parse_recipe
from skysense.raster import selection
from skysense.raster.selection import select_dates, valid_shares
from skysense.scene.scenefile import scene_to_json
from skysense.scene.selection import DateRule

TEN = (10, 0, 500000, 0, -10, 5600000)
DATES = ("2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01", "2020-05-01", "2020-06-01")
#: Rows under cloud, of 40, for each date.
CLOUDS = (10, 0, 40, 4, 0, 20)


def series(folder, clouds=CLOUDS, dates=DATES, side=40):
    """Sentinel-2 with dark ground and so many rows of cloud."""
    items = []
    for day, rows in zip(dates, clouds, strict=True):
        values = np.full((3, side, side), 500, np.uint16)
        values[:, : rows * side // 40] = 8000
        path = write_raster(folder / f"{day}.tif", values, TEN, tiled=True, blockxsize=16, blockysize=16)
        items.append(acquisition("s2", path, date=day))
    return items


def radar(folder, dates):
    values = np.full((2, 40, 40), -10, np.float32)
    path = write_raster(folder / "s1.tif", values, TEN)
    return [acquisition("s1", path, date=day, units="db") for day in dates]


def days(found, modality="s2"):
    return [item.date.isoformat() for item in found.modality(modality)]


def test_shares_of_the_cloud_test(tmp_path):
    shares = valid_shares(scene(*series(tmp_path)))
    assert {day.isoformat(): share for day, share in shares.items()} == {
        day: 1 - rows / 40 for day, rows in zip(DATES, CLOUDS, strict=True)
    }


def test_the_clearest(tmp_path):
    picture = scene(*series(tmp_path))
    notes = []
    assert days(select_dates(picture, DateRule("clearest", 2), notes.append)) == ["2020-02-01", "2020-05-01"]
    assert notes == ["Sentinel-2: 2 of 6 dates are used (2020-02-01, 2020-05-01)."]
    assert days(select_dates(picture, DateRule("clearest", 1))) == ["2020-02-01"]  # the earlier of equals
    assert days(select_dates(picture, DateRule("clearest", 4))) == [DATES[0], DATES[1], DATES[3], DATES[4]]
    assert select_dates(picture, DateRule("clearest", 6)) == picture == select_dates(picture, DateRule())


def test_a_product_s_mask_decides_where_there_is_one(tmp_path):
    items = series(tmp_path, clouds=(0,) * 6)
    masked = []
    for item, rows in zip(items, (0, 30, 10, 20, 40, 5), strict=True):
        classes = np.full((1, 40, 40), 4, np.uint8)
        classes[:, :rows] = 9
        mask = write_raster(tmp_path / f"{item.date}_SCL.tif", classes, TEN)
        masked.append(acquisition("s2", item.path, date=item.date, mask=mask))
    assert days(select_dates(scene(*masked), DateRule("clearest", 3))) == [DATES[0], DATES[2], DATES[5]]


def test_a_large_scene_is_read_coarsely_and_gives_the_same(tmp_path, monkeypatch):
    picture = scene(*series(tmp_path, side=80))
    whole = valid_shares(picture)
    monkeypatch.setattr(selection, "_SIDE", 20)
    monkeypatch.setattr(selection, "_ROWS", 3)
    assert valid_shares(picture) == whole


def test_images_of_one_day_are_one_date(tmp_path):
    items = series(tmp_path, clouds=(20, 20, 10, 30, 40, 40))
    values = np.full((3, 40, 40), 500, np.uint16)
    values[:, 20:] = 0  # nodata: what the first of that day has under cloud is clear here
    other = write_raster(tmp_path / "other.tif", values, TEN)
    picture = scene(*items, acquisition("s2", other, date=DATES[0]))
    chosen = select_dates(picture, DateRule("clearest", 1))
    assert [item.path.name for item in chosen.acquisitions] == [f"{DATES[0]}.tif", "other.tif"]


def test_radar_is_evenly_spaced_and_the_rest_stays(tmp_path):
    picture = scene(
        *series(tmp_path),
        *radar(tmp_path, ("2020-01-01", "2020-01-02", "2020-03-01", "2020-06-01")),
        acquisition(
            "hr", write_raster(tmp_path / "hr.tif", np.ones((3, 40, 40), np.uint8), TEN), date="2020-01-07"
        ),
    )
    for kind, expected in (
        ("clearest", [DATES[1], DATES[3], DATES[4]]),
        ("even", [DATES[0], DATES[3], DATES[5]]),
    ):
        chosen = select_dates(picture, DateRule(kind, 3))
        assert days(chosen) == expected
        assert days(chosen, "s1") == ["2020-01-01", "2020-03-01", "2020-06-01"]
        assert days(chosen, "hr") == ["2020-01-07"]


def test_evenly_spaced_reads_nothing(tmp_path):
    items = [acquisition("s2", tmp_path / f"{day}.tif", date=day) for day in DATES]
    assert days(select_dates(scene(*items), DateRule("even", 2))) == [DATES[0], DATES[5]]
    with pytest.raises(InputError, match="no such file"):
        select_dates(scene(*items), DateRule("clearest", 2))


def test_a_recipe_opens_its_scene_with_the_dates_that_it_uses(tmp_path):
    row = scene_to_json(scene(*series(tmp_path)), None)
    recipe = {
        "skysense": 1,
        "task": "embed",
        "scene": row,
        "output": "e.tif",
        "options": {"dates": "clearest:2"},
    }
    parsed = parse_recipe(recipe, tmp_path)
    assert days(parsed.open_scene()) == ["2020-02-01", "2020-05-01"]
    assert parsed.to_json()["options"] == {"dates": "clearest:2"}
    assert "dates" not in parse_recipe({**recipe, "options": {"dates": "all"}}, tmp_path).to_json()["options"]
    with pytest.raises(InputError, match="dates is 'clear'"):
        parse_recipe({**recipe, "options": {"dates": "clear"}}, tmp_path)
