"""Moments of a scene: the images that show it on one day, for labels that are true on that day only.

A flood, a burn or a bare field is there on one date and gone on another, so a polygon is paired with the images nearest to its
date: of every sensor those of one day. The head sees the columns of a single day, which no date names, and so maps other
days than those that it was trained on; the encoders see the dates as they are.

Clouds of a moment are those that the imagery's masks name: a single image has no series that it could stand out of
(`raster.clouds`), and what is bright on one day alone, such as snow, may be just what was drawn.
"""

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from skysense.errors import InputError
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.periods import AnchorsOf
from skysense.finetune.series import day_number
from skysense.raster.reader import SceneReader
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import SENSORS, Modality

#: Days between a date and the images that stand for it, at most.
MOST_DAYS = 30
#: Dates that a sentence names before it counts the others.
_MOST_NAMED = 6

Days = dict[Modality, datetime.date]


@dataclass(frozen=True)
class Moment:
    """A scene on one day.

    Attributes:
        scene: with the images of that day alone.
        days: when these were taken, by modality: a few days apart where sensors pass on different ones.
    """

    scene: Scene
    days: Days

    @property
    def text(self) -> str:
        """The day, or the first and the last one as an interval of ISO 8601."""
        first, last = min(self.days.values()), max(self.days.values())
        return first.isoformat() if first == last else f"{first}/{last}"

    @property
    def told(self) -> str:
        """Which images these are, in words."""
        return ", ".join(f"{SENSORS[modality].title} of {day}" for modality, day in self.days.items())

    def anchors(self, columns: AnchorsOf) -> AnchorsOf:
        """The columns of the series at this moment: one date, the images' own."""
        return {m: replace(item, days=(day_number(self.days[m]),)) for m, item in columns.items()}


@dataclass(frozen=True)
class Moments:
    """The moments of a label layer's dates.

    Attributes:
        scene: the scene with those sensors that have images near each of the dates.
        at: the moment of each date; dates whose nearest images are the same have the same one.
    """

    scene: Scene
    at: dict[datetime.date, Moment]

    @property
    def each(self) -> list[Moment]:
        """The different ones."""
        return list({moment.told: moment for moment in self.at.values()}.values())


def nearest(scene: Scene, day: datetime.date) -> Days:
    """Of each modality the day of its images that is nearest to a date, the earlier of two.

    A modality without an image at most `MOST_DAYS` off is not there; images without a date are of no day.
    """
    found: Days = {}
    for modality in SENSORS:
        dates = {item.date for item in scene.modality(modality) if item.date is not None}
        near = min(dates, key=lambda date: (abs(date - day), date), default=None)
        if near is not None and abs((near - day).days) <= MOST_DAYS:
            found[modality] = near
    return found


def find_moments(
    scene: Scene, dates: Sequence[datetime.date], where: str, note: Callable[[str], None]
) -> Moments:
    """The moments of labels' dates, of the same sensors each.

    Args:
        dates: different ones, in order.
        where: the labels as the user knows them, for errors.
        note: is told which dates and which sensors are left out, and what is known of clouds.

    Raises:
        InputError: no date has an image near, or no sensor has images near all dates that have one.
    """
    near = {day: nearest(scene, day) for day in dates}
    lonely = [day for day, days in near.items() if not days]
    if len(lonely) == len(near):
        raise InputError(
            f"no date of the polygons ({listed(dates)}) has an image at most {MOST_DAYS} days off",
            where,
            "Check the date field, or add images of these dates",
        )
    if lonely:
        note(
            f"No image is at most {MOST_DAYS} days off {listed(lonely)}: the polygons of these dates were left out."
        )
    near = {day: days for day, days in near.items() if days}
    missing = {
        modality: [day for day, days in near.items() if modality not in days]
        for modality in SENSORS
        if scene.modality(modality)
    }
    kept = [modality for modality, without in missing.items() if not without]
    told = [
        f"{SENSORS[modality].title} has no dated image at most {MOST_DAYS} days off {listed(without)}"
        for modality, without in missing.items()
        if without
    ]
    if not kept:
        raise InputError(
            f"no sensor has images near all dates of the polygons ({'; '.join(told)})",
            where,
            "Add images of these dates, or train on the polygons of fewer dates",
        )
    for sentence in told:
        note(f"{sentence}, so it is not used.")
    used = replace(scene, acquisitions=tuple(i for i in scene.acquisitions if i.modality in kept))
    moments = Moments(used, {day: _moment(used, {m: days[m] for m in kept}) for day, days in near.items()})
    if any(item.mask is None for moment in moments.each for item in moment.scene.modality("s2")):
        note(
            "In Sentinel-2 images of a single date clouds are known from masks only: where an image has none, draw its clouds as a "
            "class of their own."
        )
    return moments


def choose_moment(scene: Scene, modalities: Iterable[Modality], at: str | None) -> Moment:
    """The moment that is mapped.

    Args:
        modalities: the model's.
        at: "YYYY-MM-DD"; None: the newest day near which each modality has images.

    Raises:
        InputError: a modality has no image near that day, or there is no such day.
    """
    used = replace(scene, acquisitions=tuple(i for i in scene.acquisitions if i.modality in modalities))
    dates = {m: sorted({i.date for i in used.modality(m) if i.date is not None}) for m in modalities}
    if at is not None:
        day = datetime.date.fromisoformat(at)
        days = nearest(used, day)
        for modality, known in dates.items():
            if modality in days:
                continue
            theirs = f"they are of {known[0]} to {known[-1]}" if known else "none has a date"
            raise InputError(
                f"has no {SENSORS[modality].title} image at most {MOST_DAYS} days off {day} ({theirs})",
                scene.name,
                "Map another date (--at), or add images of this one",
            )
        return _moment(used, days)
    for day in sorted({day for known in dates.values() for day in known}, reverse=True):
        days = nearest(used, day)
        if days.keys() == dates.keys():
            return _moment(used, days)
    titles = ", ".join(SENSORS[modality].title for modality in dates)
    raise InputError(
        f"has no date near which there are images of {titles}, as the model needs them",
        scene.name,
        f"Add images that are at most {MOST_DAYS} days apart, and give their dates",
    )


def open_moment(
    make: Callable[[Scene, SceneReader, AnchorsOf], FeatureExtractor],
    moment: Moment,
    reader: SceneReader,
    columns: AnchorsOf,
) -> FeatureExtractor:
    """The extractor of one moment.

    Args:
        make: an extractor of some acquisitions, their reader and the columns of their series.
        reader: of the whole scene.
        columns: the bands; their days are not looked at.
    """
    return make(moment.scene, reader.part(moment.scene), moment.anchors(columns))


def listed(dates: Sequence[datetime.date]) -> str:
    """Dates as a person reads them, the first ones of many."""
    named = ", ".join(day.isoformat() for day in dates[:_MOST_NAMED])
    more = len(dates) - _MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _moment(scene: Scene, days: Days) -> Moment:
    images = (i for i in scene.acquisitions if i.modality in days and i.date == days[i.modality])
    return Moment(replace(scene, acquisitions=tuple(images)), days)
