"""Choosing dates of a long series once for a whole scene, before anything is trained or mapped.

The clearest dates are found by reading one visible band of every date over all of the scene at once, a few hundred
pixels wide (from overviews where there are some), with the clouds of the product's mask or of our own test (`clouds`). No
tile has a choice of its own, so no seam appears, and a map of a part shows the dates of the whole.
"""

import datetime
import math
from collections.abc import Callable
from dataclasses import replace

from skysense.raster.clouds import THRESHOLDS
from skysense.raster.grid import Grid
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.reader import SceneReader
from skysense.scene.acquisition import Acquisition, Scene
from skysense.scene.selection import DateRule, evenly
from skysense.scene.sensors import SENSORS, Modality
from skysense.scene.validate import check

#: Pixels of the longer side of what is read of a scene, at most, and of its rows at a time.
_SIDE, _ROWS = 512, 64

_SERIES: tuple[Modality, ...] = ("s2", "s1")


def select_dates(scene: Scene, rule: DateRule, note: Callable[[str], None] | None = None) -> Scene:
    """The scene with the dates of its Sentinel-2 and Sentinel-1 series that the rule chooses; all else is kept.

    Images of one day stay together; an image without a date stays.

    Args:
        note: is told which dates are used, a sentence for each series of which some are left out.

    Raises:
        InputError: the clearest are asked for, and the scene cannot be read.
    """
    if rule.kind == "all":
        return scene
    left: set[int] = set()
    for modality in _SERIES:
        items = scene.modality(modality)
        days = sorted({item.date for item in items if item.date is not None})
        if len(days) <= rule.count:
            continue
        clearest = rule.kind == "clearest" and modality == "s2"
        used = _clearest(scene, days, rule.count) if clearest else evenly(days, rule.count)
        left |= {id(item) for item in items if item.date is not None and item.date not in used}
        if note is not None:
            told = ", ".join(day.isoformat() for day in used)
            note(f"{SENSORS[modality].title}: {len(used)} of {len(days)} dates are used ({told}).")
    return replace(scene, acquisitions=tuple(item for item in scene.acquisitions if id(item) not in left))


def valid_shares(scene: Scene) -> dict[datetime.date, float]:
    """For each day of a scene's Sentinel-2 series the share (0..1) of the scene's pixels that it shows free of clouds.

    Raises:
        InputError: a file cannot be read.
    """
    items = scene.modality("s2")
    band = max(THRESHOLDS, key=lambda name: sum(name in item.bands for item in items))
    seen = replace(scene, acquisitions=tuple(_only(item, band) for item in items))
    grid = _coarse(plan_layout(scene))
    counts: dict[datetime.date, int] = {}
    with SceneReader(seen) as reader:
        for strip in grid.window.strips(_ROWS):
            stack = reader.read("s2", grid.sub(strip))
            for day in set(stack.dates) - {None}:
                assert day is not None
                same = [number for number, date in enumerate(stack.dates) if date == day]
                counts[day] = counts.get(day, 0) + int(stack.valid[same].any(axis=0).sum())
    return {day: count / (grid.width * grid.height) for day, count in counts.items()}


def _clearest(scene: Scene, days: list[datetime.date], count: int) -> list[datetime.date]:
    check(scene, lambda _: None)  # the job tells what is doubtful about the images that are left
    shares = valid_shares(scene)
    return sorted(sorted(days, key=lambda day: (-shares[day], day))[:count])


def _only(item: Acquisition, band: str) -> Acquisition:
    """One band of an acquisition; another where it lacks that one."""
    name = (
        band
        if band in item.bands
        else next((name for name in SENSORS["s2"].bands if name in item.bands), None)
    )
    return replace(item, bands={} if name is None else {name: item.bands[name]})


def _coarse(layout: Layout) -> Grid:
    """The whole scene in few pixels, whose sides are a whole number of the fusion lattice's."""
    west, south, east, north = bounds = layout.compute.grid(layout.area).bounds
    base = layout.base
    factor = max(1, math.ceil(max(east - west, north - south) / base.gsd / _SIDE))
    lattice = replace(base, gsd=base.gsd * factor)
    return lattice.grid(lattice.window_of(bounds))
