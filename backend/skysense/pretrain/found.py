"""The report on the imagery that a pretraining found, for people and for the log."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from skysense.scene.sensors import SENSORS

if TYPE_CHECKING:
    from skysense.pretrain.corpus import Entry

#: So many names of what is not used stand in the text; all of them stand in the JSON.
_NAMED = 5


@dataclass(frozen=True)
class Omitted:
    """Something that is not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What there is to learn from.

    Attributes:
        scenes: that are used; kinds: of them, by what their windows show ("hr", "series", "fused").
        acquisitions: by modality.
        area_km2: sum over scenes. regions: geo-context regions that hold a scene's centre.
        dated, undated: acquisitions with and without a known day.
        synthetic: scenes that this program made.
        skipped: scenes and images that cannot be used.
        left_out: scenes left out by name or licence.
    """

    scenes: int
    kinds: dict[str, int]
    acquisitions: dict[str, int]
    area_km2: float
    regions: int
    dated: int
    undated: int
    synthetic: int
    skipped: tuple[Omitted, ...]
    left_out: tuple[Omitted, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @property
    def text(self) -> str:
        """One paragraph for a person."""
        images = ", ".join(
            f"{self.acquisitions[modality]} {SENSORS[modality].title}"
            for modality in SENSORS
            if self.acquisitions.get(modality)
        )
        made = f" ({self.synthetic} of them synthetic)" if self.synthetic else ""
        text = (
            f"Found {_count(self.scenes, 'scene')}{made} with {_count(self.dated + self.undated, 'image')} "
        )
        text += f"({images}): {self.area_km2:.3g} km² in {_count(self.regions, 'region')}."
        if self.undated:
            text += f" {_count(self.undated, 'image')} without a date: learned from, but not from the season."
        return f"{text} {self.omissions}".strip()

    @property
    def omissions(self) -> str:
        """What is not used, named, as sentences; "" if nothing."""
        parts = []
        for what, items in (("Skipped", self.skipped), ("Left out", self.left_out)):
            if items:
                named = "; ".join(f"{item.name} ({item.reason})" for item in items[:_NAMED])
                more = f"; and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
                parts.append(f"{what} {len(items)}: {named}{more}.")
        return " ".join(parts)


def summarise(
    entries: Sequence["Entry"], skipped: tuple[Omitted, ...], left_out: tuple[Omitted, ...]
) -> Found:
    """Count what was found."""
    images = [item for entry in entries for item in entry.scene.acquisitions]
    undated = sum(item.date is None for item in images)
    return Found(
        scenes=len(entries),
        kinds=dict(Counter(entry.kind for entry in entries)),
        acquisitions=dict(Counter(item.modality for item in images)),
        area_km2=sum(entry.area_km2 for entry in entries),
        regions=len({entry.region for entry in entries}),
        dated=len(images) - undated,
        undated=undated,
        synthetic=sum(entry.synthetic for entry in entries),
        skipped=skipped,
        left_out=left_out,
    )


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" + ("" if number == 1 else "s")
