"""A scene before and after a date."""

import dataclasses
import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from skysense.errors import InputError
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.periods import Periods, common_anchors, matched_anchors, open_pair, split_scene
from skysense.finetune.series import Anchors, day_number, series_anchors
from skysense.finetune.session import Session
from skysense.model.presets import seeded_model
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import plan_tiles
from skysense.scene.acquisition import Acquisition, BandRef
from skysense.scene.scenefile import load_scene
from skysense.synthetic.landscape import make_landscape


def days(*texts):
    return tuple(day_number(datetime.date.fromisoformat(text)) for text in texts)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Sentinel-2 of 2023 and, seen on the very same dates, of 2024."""
    path = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, hr_gsd_m=10, n_s2=3, n_s1=0)
    data = json.loads(path.read_text())
    rows = [row for row in data["acquisitions"] if row["modality"] == "s2"]
    rows += [dict(row, date=row["date"].replace("2023", "2024")) for row in rows]
    path.write_text(json.dumps({**data, "acquisitions": rows}))
    return load_scene(path)


def test_images_fall_before_the_day_and_from_it_on(scene):
    dates = [item.date for item in scene.modality("s2")]
    periods = split_scene(scene, dates[3].isoformat(), ("s2",))
    assert [item.date for item in periods.first.modality("s2")] == dates[:3]
    assert [item.date for item in periods.second.modality("s2")] == dates[3:]
    assert periods.season_note is None


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (None, r"no date splits the scene.*--split"),
        ("2022-01-01", r"has no Sentinel-2 image before 2022-01-01 \(they are of 2023-.*2024-"),
        ("2025-01-01", r"has no Sentinel-2 image from 2025-01-01 on"),
    ],
)
def test_both_periods_need_images(scene, split, message):
    with pytest.raises(InputError, match=message):
        split_scene(scene, split, ("s2",))


def test_an_image_without_a_date_is_in_neither(scene):
    from dataclasses import replace

    items = scene.acquisitions
    undated = replace(scene, acquisitions=(*items[1:], replace(items[0], date=None)))
    with pytest.raises(InputError, match="has no date"):
        split_scene(undated, "2024-01-01", ("s2",))


def test_seasons_that_one_period_lacks_are_told(scene):
    from dataclasses import replace

    late = replace(
        scene,
        acquisitions=tuple(i for i in scene.acquisitions if i.date.year == 2023 or i.date.month < 6),
    )
    note = split_scene(late, "2024-01-01", ("s2",)).season_note
    assert note is not None and "Sentinel-2 dates" in note


def test_dates_are_matched_by_day_of_the_year(scene):
    first = {"s2": Anchors(("B2",), days("2019-03-01", "2019-12-20", "2020-03-02"))}
    second = split_scene(scene, "2024-01-01", ("s2",)).second  # all of 2024, about July
    matched = [day - days("2024-01-01")[0] for day in matched_anchors(first, second)["s2"].days]
    # Whole years on, and of each the nearest to the second period's dates.
    wanted = [60, 354, 61]
    assert all(abs(day - want) <= 2 for day, want in zip(matched, wanted)), matched


def test_bands_are_those_of_both():
    one, two = Anchors(("B2", "B3", "B8"), (1, 2)), Anchors(("B3", "B8", "B12"), (9,))
    assert common_anchors({"s2": one}, {"s2": two}) == {"s2": Anchors(("B3", "B8"), (1, 2))}


def test_what_did_not_change_differs_by_nothing(scene):
    layout = plan_layout(scene)
    tiling = plan_tiles(layout)
    model = seeded_model("tiny")
    periods = split_scene(scene, "2024-01-01", ("s2",))
    with SceneReader(scene, layout) as reader:

        def make(part, part_reader, anchors):
            return FeatureExtractor(model, part_reader, layout, tiling, anchors, ())

        pair = open_pair(make, periods, reader, series_anchors(periods.first))
        tile = next(iter(tiling.over(layout.area)))
        found = pair.features(pair.read(tile))
    names = {
        f"{part}.{block}" for part in ("before", "after", "difference") for block in ("s2.series", "fused")
    }
    assert set(found.maps) == names == {block.name for block in pair.blocks}
    assert {block.name: block.dim for block in pair.blocks} == {
        name: len(feature.values) for name, feature in found.maps.items()
    }
    assert found.valid.any()
    # The second year's images are the first one's, so only the leap day's shift of the interpolation is left.
    difference = found.maps["difference.s2.series"].values.numpy()
    before = found.maps["before.s2.series"].values.numpy()
    after = found.maps["after.s2.series"].values.numpy()
    np.testing.assert_array_equal(difference, after - before)
    assert np.abs(difference).mean() < 0.05 * before.std()


def periods_of(scene, before, after):
    """The two periods with these bands of every image."""

    def seen(part, bands):
        return dataclasses.replace(
            part,
            acquisitions=tuple(
                dataclasses.replace(
                    item, bands={name: band for name, band in item.bands.items() if name in bands}
                )
                for item in part.acquisitions
            ),
        )

    whole = split_scene(scene, "2024-01-01", ("s2",))
    return dataclasses.replace(whole, first=seen(whole.first, before), second=seen(whole.second, after))


def session_of(scene, **found):
    """A session of which nothing but the scene and its parts is asked."""
    session = object.__new__(Session)
    vars(session).update({"scene": scene, "moments": None, "gaps": {}, **found})
    return session


def test_periods_without_a_common_band_are_a_sentence(scene):
    apart = session_of(scene, periods=periods_of(scene, ("B2", "B3"), ("B8", "B12")))
    with pytest.raises(InputError, match="the two periods share no band of Sentinel-2"):
        _ = apart.anchors
    together = session_of(scene, periods=periods_of(scene, ("B2", "B3"), ("B3", "B12")))
    assert together.anchors["s2"].bands == ("B3",) and together.hr_bands == ()


def test_hr_of_two_periods_without_a_common_band_is_a_sentence(scene):
    def seen(*bands):
        image = Acquisition("hr", Path("o.tif"), None, {band: BandRef(Path("o.tif"), 1) for band in bands})
        return dataclasses.replace(scene, acquisitions=(image,))

    apart = session_of(scene, periods=Periods(datetime.date(2024, 1, 1), seen("R", "G"), seen("NIR")))
    with pytest.raises(InputError, match="the two periods share no band of High resolution"):
        _ = apart.hr_bands
