"""Regions and geo-context: equal areas, look-up, and which prototypes serve a place."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pyproj import Geod
from skysense.model.config import GeoConfig, ModelConfig
from skysense.model.geocontext import GeoContext
from skysense.model.prototypes import geo_context
from skysense.model.regions import (
    BANDS,
    COLUMNS,
    RegionMatch,
    distance_km,
    match_note,
    match_region,
    region_centre,
    region_id,
)

BARCELONA = (2.17, 41.39)


@pytest.mark.parametrize("row", [1, 60, 137, 230, 273])
def test_cells_are_equal_in_area_on_the_ellipsoid(row: int) -> None:
    # The edges of a cell, found by bisection over region_id alone.
    def edge(target: int) -> float:
        low, high = -90.0, 90.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if region_id(0.1, middle) // COLUMNS < target else (low, middle)
        return low

    south, north = edge(row), edge(row + 1)
    steps = 200
    lons = [i / steps * 360 / COLUMNS for i in range(steps + 1)]
    ring = [(lon, south) for lon in lons] + [(lon, north) for lon in reversed(lons)]
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*zip(*ring, strict=True))
    assert abs(area) / 1e6 == pytest.approx(4293.5, rel=2e-3)


def test_every_region_contains_its_centre() -> None:
    for row in range(0, BANDS, 3):
        region = row * COLUMNS + (row * 7) % COLUMNS
        assert region_id(*region_centre(region)) == region


def test_longitudes_wrap_and_poles_belong_somewhere() -> None:
    assert region_id(190.0, 10.0) == region_id(-170.0, 10.0)
    assert region_id(180.0, 10.0) == region_id(-180.0, 10.0)
    assert region_id(0, -90) // COLUMNS == 0 and region_id(0, 90) // COLUMNS == BANDS - 1
    with pytest.raises(ValueError, match="not a place"):
        region_id(0, 91)
    with pytest.raises(ValueError, match="not a place"):
        region_id(math.nan, 0)


def test_distance() -> None:
    assert distance_km((0, 0), (90, 0)) == pytest.approx(10007.5, rel=1e-3)
    assert distance_km((179.9, 0), (-179.9, 0)) == pytest.approx(22.2, rel=1e-2)


def test_matching() -> None:
    own = region_id(*BARCELONA)
    madrid, tokyo = region_id(-3.7, 40.4), region_id(139.7, 35.7)
    assert match_region(*BARCELONA, [tokyo, own]) == RegionMatch(own, "own", 0.0)
    nearest = match_region(*BARCELONA, [tokyo, madrid])
    assert nearest.region == madrid and nearest.source == "nearest"
    assert nearest.distance_km == pytest.approx(distance_km(BARCELONA, region_centre(madrid)))
    assert match_region(*BARCELONA, [tokyo]) == RegionMatch(None, "constant", None)
    assert match_region(*BARCELONA, []).source == "constant"


def test_module_uses_the_matched_prototypes() -> None:
    torch.manual_seed(0)
    own = region_id(*BARCELONA)
    module = GeoContext(8, 5, (7, own)).double()
    torch.nn.init.normal_(module.constant)
    torch.nn.init.normal_(module.prototypes)
    features = torch.randn(6, 8, dtype=torch.float64)
    places = torch.tensor([BARCELONA, (140.0, 35.0)], dtype=torch.float64)
    here, nowhere = module.matches(places, 2)
    assert here.source == "own" and nowhere.source == "constant"
    assert torch.equal(module(features, here), geo_context(features, module.prototypes[1]))
    assert torch.equal(module(features, nowhere)[:, 8:], module.constant.expand(6, 8))
    assert module.matches(torch.tensor([own, -1]), 2) == [here, nowhere]
    assert module.matches(None, 1) == [nowhere]


def test_model_with_geo_context(mini: ModelConfig, build: Any, scene: Any) -> None:
    own = region_id(*BARCELONA)
    config = replace(mini, geo=GeoConfig(5, (own,)))
    model, inputs = build(config), scene()
    torch.nn.init.normal_(model.geo_context.prototypes)
    inputs.region = torch.tensor([BARCELONA])
    with torch.inference_mode():
        fused = model(inputs).fused
        model.geo_context = None
        plain = model(inputs).fused
    assert config.fused_dim == 48 and fused.shape[1] == 48
    assert torch.equal(fused[:, :24], plain) and fused[:, 24:].abs().max() > 0


def test_note_says_what_stands_in() -> None:
    own, near, none = (
        RegionMatch(1, "own", 0.0),
        RegionMatch(2, "nearest", 312.4),
        RegionMatch(None, "constant", None),
    )
    assert match_note([own, own]) == match_note([]) == ""
    assert (
        match_note([near])
        == "Geo-context: all of the area uses the nearest trained region, up to 312 km away."
    )
    assert match_note([own, near, none, none]) == (
        "Geo-context: 25 % of the area uses the nearest trained region, up to 312 km away; "
        "50 % of the area has no trained region within 1,000 km and uses none."
    )
