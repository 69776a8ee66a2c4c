"""The list of imagery sources with their stated licences: what a model that is given away may be trained on.

`resources/pretrain/sources.json` is the list of the shipped model: {"skysense_sources": 1, "sources": [{"name",
"place", "origin", "licence", "attribution"}]}. `name` is a scene's name; scenes of one place (a drone flight cut
in two, one cell with two series) share `place`, so that a place can be left out as a whole.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from skysense.errors import InputError

#: Imagery licences under which a trained model may be passed on; share-alike and non-commercial ones are not.
ALLOWED = frozenset({"Copernicus", "public domain", "CC0-1.0", "CC-BY-4.0", "CDLA-Permissive-1.0"})


@dataclass(frozen=True)
class Source:
    """Where a scene's imagery comes from.

    Attributes:
        name: the scene's name.
        place: shared by the scenes of one place on the Earth.
        origin: data set or repository.
        licence: stated for the imagery, as in `ALLOWED` where it is one of them.
        attribution: the line that the licence asks for.
    """

    name: str
    place: str
    origin: str
    licence: str
    attribution: str

    @property
    def allowed(self) -> bool:
        """Whether a model trained on it may be passed on."""
        return self.licence in ALLOWED


def read_sources(path: Path) -> Mapping[str, Source]:
    """The sources in a list, by name.

    Raises:
        InputError: no such file, or it is no such list; says which entry and what it lacks.
    """
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"the list of sources cannot be read ({error})", str(path), "Check the file"
        ) from None
    if (
        not isinstance(data, dict)
        or data.get("skysense_sources") != 1
        or not isinstance(data.get("sources"), list)
    ):
        raise InputError(
            "is not a list of imagery sources", str(path), 'Write {"skysense_sources": 1, "sources": […]}'
        )
    found: dict[str, Source] = {}
    for number, row in enumerate(data["sources"], start=1):
        values = {item.name: row.get(item.name) if isinstance(row, dict) else None for item in fields(Source)}
        lacking = [name for name, value in values.items() if not isinstance(value, str) or not value.strip()]
        if lacking:
            raise InputError(f"source {number} lacks {', '.join(lacking)}", str(path), "State each as text")
        source = Source(**{name: str(value) for name, value in values.items()})
        if source.name in found:
            raise InputError(f"names {source.name} twice", str(path), "Keep one of them")
        found[source.name] = source
    return found
