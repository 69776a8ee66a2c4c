"""Two periods of a scene, before a date and from it on, as one set of features: what changes are learned and found from.

A tile has every block of features three times: of the images before the date, of those from it on, and the difference of the
two. A field is bare in one month and green in another without a change, so the two are compared season by season: the second
period's series is interpolated to the first one's days of the year. A pixel is valid where both periods have seen it.

Shape legend: A anchors, h x w a block's map.
"""

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skysense.errors import InputError
from skysense.finetune.features import Block, FeatureExtractor, FeatureMap, TileFeatures, TileInput
from skysense.finetune.series import DAYS_A_YEAR, Anchors, day_number
from skysense.model.inputs import Inputs
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tile
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import SENSORS, Modality

BEFORE, AFTER, DIFFERENCE = "before.", "after.", "difference."
#: Days between a date of the first period and the nearest of the second, by day of the year, from which seasons differ.
_APART = 45

AnchorsOf = dict[Modality, Anchors]


@dataclass(frozen=True)
class Periods:
    """A scene in two.

    Attributes:
        split: the first day of the second period.
        first, second: the acquisitions of each.
    """

    split: datetime.date
    first: Scene
    second: Scene

    @property
    def season_note(self) -> str | None:
        """A sentence where the second period lacks seasons that the first one has seen."""
        told = []
        for modality in ("s2", "s1"):
            one, two = (np.array(_days(scene, modality)) for scene in (self.first, self.second))  # type: ignore[arg-type]
            if not len(one):
                continue
            apart = np.abs(one[:, None] - two[None]) % DAYS_A_YEAR
            lonely = int((np.minimum(apart, DAYS_A_YEAR - apart).min(1) > _APART).sum())
            if lonely:
                told.append(f"{lonely} of {len(one)} {SENSORS[modality].title} dates")  # type: ignore[index]
        if not told:
            return None
        return (
            f"Before {self.split} the scene was seen in seasons in which it was not seen later ({', '.join(told)} have none within "
            f"{_APART} days of the same season): seasons may be taken for changes there."
        )


def split_scene(scene: Scene, split: str | None, modalities: tuple[Modality, ...]) -> Periods:
    """Divide a scene by a date.

    Args:
        split: "YYYY-MM-DD", the first day of the second period.
        modalities: those in use; what the scene has of others is left out.

    Raises:
        InputError: there is no date, an image without one, or a period without an image of a modality.
    """
    if split is None:
        raise InputError(
            "no date splits the scene into a period before and one after",
            scene.name,
            "Give the first day of the second one (--split YYYY-MM-DD)",
        )
    day = datetime.date.fromisoformat(split)
    used = [item for item in scene.acquisitions if item.modality in modalities]
    for item in used:
        if item.date is None:
            raise InputError(
                "has no date, so it is in neither period", str(item.path), "Give its acquisition date"
            )
    halves = (
        dataclasses.replace(scene, acquisitions=tuple(i for i in used if i.date and (i.date >= day) == late))
        for late in (False, True)
    )
    periods = Periods(day, *halves)
    for modality in modalities:
        for half, when in ((periods.first, f"before {day}"), (periods.second, f"from {day} on")):
            if not half.modality(modality):
                dates = [item.date for item in scene.modality(modality)]
                raise InputError(
                    f"has no {SENSORS[modality].title} image {when} (they are of {dates[0]} to {dates[-1]})",
                    scene.name,
                    "Choose a date (--split) that has images of every sensor on both sides",
                )
    return periods


def common_anchors(first: AnchorsOf, second: AnchorsOf) -> AnchorsOf:
    """The first period's dates, with the bands that both have."""
    return {
        modality: Anchors(tuple(b for b in item.bands if b in second[modality].bands), item.days)
        for modality, item in first.items()
    }


def check_shared(bands: Sequence[str], modality: Modality, parts: str, where: str) -> None:
    """Raises InputError where parts of a scene have no band of a sensor in common.

    Args:
        bands: that all of them have.
        parts: how people call them: "the two periods"; where: the scene's name.
    """
    if not bands:
        raise InputError(
            f"{parts} share no band of {SENSORS[modality].title}",
            where,
            "Assign the same bands to its images, or leave that sensor out",
        )


def matched_anchors(anchors: AnchorsOf, scene: Scene) -> AnchorsOf:
    """The same days of the year, in those years that are nearest to a scene's dates."""
    found: AnchorsOf = {}
    for modality, item in anchors.items():
        center = float(np.mean(_days(scene, modality)))
        years = np.round((center - np.array(item.days)) / DAYS_A_YEAR)
        days = np.array(item.days) + np.round(years * DAYS_A_YEAR).astype(np.int64)
        found[modality] = Anchors(item.bands, tuple(days.tolist()))
    return found


def _days(scene: Scene, modality: Modality) -> list[int]:
    return [day_number(item.date) for item in scene.modality(modality)]


@dataclass(frozen=True)
class PairInput(TileInput):
    """What is read for one tile in both periods; its own stacks are empty."""

    before: TileInput | None = None
    after: TileInput | None = None


class PairExtractor(FeatureExtractor):
    """Turns tiles into features of both periods and their difference.

    Args:
        before, after: the extractors of the two periods, on the same tiles and with the same blocks.
    """

    def __init__(self, before: FeatureExtractor, after: FeatureExtractor) -> None:
        vars(self).update(vars(before))  # what both share: the model, the grids, the tiles
        self._before, self._after = before, after

    def compute_as(self, locations: int, threads: int, compiled: int = 0) -> None:
        for one in (self._before, self._after):
            one.compute_as(locations, threads, compiled)

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(
            Block(part + block.name, block.dim)
            for part in (AFTER, BEFORE, DIFFERENCE)
            for block in self._before.blocks
        )

    def read(self, tile: Tile) -> TileInput:
        one, two = self._before.read(tile), self._after.read(tile)
        return PairInput(tile, {}, Inputs(), {}, one.seen & two.seen, before=one, after=two)

    def features(self, data: TileInput) -> TileFeatures:
        assert isinstance(data, PairInput) and data.before is not None and data.after is not None
        one, two = self._before.features(data.before), self._after.features(data.after)
        maps = {
            part + name: feature
            for part, found in ((BEFORE, one), (AFTER, two))
            for name, feature in found.maps.items()
        }
        for name, feature in one.maps.items():
            if name in two.maps:
                difference = two.maps[name].values - feature.values
                maps[DIFFERENCE + name] = FeatureMap(difference, feature.stride, feature.origin)
        return TileFeatures(data.tile, maps, one.valid & two.valid)


def open_pair(
    make: Callable[[Scene, SceneReader, AnchorsOf], FeatureExtractor],
    periods: Periods,
    reader: SceneReader,
    anchors: AnchorsOf,
) -> PairExtractor:
    """The extractor of both periods.

    Args:
        make: an extractor of some acquisitions, their reader and the columns of their series.
        reader: of the whole scene.
        anchors: of the first period.
    """
    one, two = (reader.part(scene) for scene in (periods.first, periods.second))
    return PairExtractor(
        make(periods.first, one, anchors),
        make(periods.second, two, matched_anchors(anchors, periods.second)),
    )
