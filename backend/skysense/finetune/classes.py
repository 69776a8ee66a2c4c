"""Which class a polygon belongs to: ids, names and colours (contract C6). They never change when a class is added."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from skysense.errors import InputError
from skysense.raster.maps import MapClass

MAX_ID = 255

#: Colours by id for classes that the user has given none: twelve hues that stay apart on screen and in print.
_PALETTE = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948",
    "#b07aa1", "#9c755f", "#ff9da7", "#86bc25", "#af7aa1", "#bab0ac",
)  # fmt: skip
#: What a reader of maps expects by name; the first word found in a class's name decides.
_EXPECTED = {
    "water": "#3b78b5", "river": "#3b78b5", "lake": "#3b78b5", "forest": "#2e7d32", "wood": "#2e7d32", "tree": "#2e7d32",
    "no_temporary": "#9e9e9e", "non_agri": "#9e9e9e", "background": "#bdbdbd", "other": "#bdbdbd",
    "town": "#c62828", "urban": "#c62828", "built": "#c62828", "building": "#c62828", "road": "#757575",
    "wheat": "#e6b422", "winter cereal": "#e6b422", "winter_cereal": "#e6b422", "spring": "#f4d35e", "maize": "#ef8a17",
    "potato": "#8d5a3b", "grass": "#9ccc65", "pasture": "#9ccc65", "meadow": "#9ccc65", "soil": "#b08d6a", "bare": "#b08d6a",
    "snow": "#e0f7fa", "wetland": "#4db6ac",
}  # fmt: skip


@dataclass(frozen=True)
class Classes:
    """The classes of a label layer.

    Attributes:
        ids: class id of each feature, None where its field is empty.
        names: name by id, of the ids that occur.
        notes: sentences on what was decided about the ids.
    """

    ids: list[int | None]
    names: dict[int, str]
    notes: tuple[str, ...] = ()


def assign_ids(
    values: Sequence[Any],
    field: str,
    columns: Mapping[str, Sequence[Any]],
    scene_root: Path | None,
    before: Mapping[str, int] = MappingProxyType({}),
) -> Classes:
    """Give each feature its class id.

    Order of the rules: an integer field 1..255 as it is; for a text field its integer companion `<field>_id` if
    the two map one to one; else `classes.json` beside the scene (id to name); else the id that the name had before, and
    1..N by name.

    Args:
        values: the class field, one entry a feature; None where it is empty.
        field: its name.
        columns: all fields of the layer, by name.
        scene_root: the scene's folder, where `classes.json` may be.
        before: ids by name of the model that is trained anew: names that it knows keep theirs, new ones follow.

    Raises:
        InputError: numbers that are not whole or outside 1..255, more than 255 classes, or a name that `classes.json`
            does not know.
    """
    known = _classes_json(scene_root)
    clean = [_clean(value) for value in values]
    present = [value for value in clean if value is not None]
    if present and not any(isinstance(value, str) for value in present):
        found = _from_numbers(clean, field, columns, known)
    else:
        texts = [None if value is None else str(value) for value in clean]
        found = _from_texts(texts, field, columns, known, before)
    notes = found.notes + _differences(found.names, known)
    return Classes(found.ids, found.names, notes)


def _from_numbers(
    values: Sequence[Any], field: str, columns: Mapping[str, Sequence[Any]], known: Mapping[int, str]
) -> Classes:
    for value in values:
        if value is not None and not isinstance(value, int):
            raise InputError(
                f"holds numbers that are not whole, such as {value:g}",
                f"field {field!r}",
                "Choose the field that holds the class",
            )
    used = sorted({value for value in values if value is not None})
    outside = [value for value in used if not 1 <= value <= MAX_ID]
    if outside:
        raise InputError(
            f"the class id {outside[0]} is outside 1..{MAX_ID}",
            f"field {field!r}",
            "Use whole numbers from 1 to 255, or a text field with the class names",
        )
    beside, notes = {}, []
    texts = _column(columns, field[:-3]) if field.casefold().endswith("_id") else None
    if texts is not None:
        by_name, reason = _match([None if (t := _clean(text)) is None else str(t) for text in texts], values)
        beside = {i: name for name, i in by_name.items()}
        if reason:
            notes.append(f"The names of the field {field[:-3]!r} were not used, because {reason}.")
    names = {i: beside.get(i) or known.get(i) or f"class {i}" for i in used}
    return Classes(list(values), names, tuple(notes))


def _from_texts(
    texts: list[str | None],
    field: str,
    columns: Mapping[str, Sequence[Any]],
    known: Mapping[int, str],
    before: Mapping[str, int],
) -> Classes:
    used = sorted({text for text in texts if text is not None})
    by_name: dict[str, int] = {}
    notes = _lookalikes(used, field)
    companion = _column(columns, f"{field}_id")
    if companion is not None:
        by_name, reason = _match(texts, [_clean(value) for value in companion])
        if reason:
            rule = "classes.json" if known else "name"
            notes.append(
                f"The ids of the field {field + '_id'!r} were not used, because {reason}: classes are numbered by {rule}."
            )
    if not by_name and known:
        by_name = {name: i for i, name in known.items()}
        strangers = [text for text in used if text not in by_name]
        if strangers:
            raise InputError(
                f"the class {strangers[0]!r} is not in classes.json ({', '.join(sorted(by_name))})",
                f"field {field!r}",
                "Add it to classes.json or correct the label",
            )
        outside = [text for text in used if not 1 <= by_name[text] <= MAX_ID]
        if outside:
            raise InputError(
                f"gives {outside[0]!r} the id {by_name[outside[0]]}, outside 1..{MAX_ID}",
                "classes.json",
                "Give it another id",
            )
    if not by_name:
        by_name = {name: before[name] for name in used if name in before}
        new = [name for name in used if name not in before]
        # Where no name is known the labels are of other things, which begin at 1.
        taken = set(before.values()) if by_name else set()
        free = sorted(set(range(1, MAX_ID + 1)) - taken, key=lambda i: (i < max(taken, default=0), i))
        # Where they do not suffice, ids of classes that are drawn no more are given again.
        free += sorted(taken - set(by_name.values()))
        if len(new) > len(free):
            raise _too_many(len(used), field)
        by_name |= dict(zip(new, free))
        numbers = [text for text in used if text.isdecimal()]
        if numbers:
            mixed = (
                f"text, such as {next(t for t in used if t not in numbers)!r}, and "
                if numbers != used
                else ""
            )
            notes.append(
                f"The field {field!r} holds {mixed}numbers written as text, such as {numbers[0]!r}: each was taken as the "
                f"name of a class, and the classes are numbered 1 to {len(used)} by name."
            )
    if len(used) > MAX_ID:
        raise _too_many(len(used), field)
    ids = [None if text is None else by_name[text] for text in texts]
    names = {i: name for name, i in sorted(by_name.items(), key=lambda item: item[1]) if name in used}
    return Classes(ids, names, tuple(notes))


def _column(columns: Mapping[str, Sequence[Any]], name: str) -> Sequence[Any] | None:
    """A field's values; Shapefiles and databases write names in capitals, and mean the same."""
    return next((values for key, values in columns.items() if key.casefold() == name.casefold()), None)


def _too_many(count: int, field: str) -> InputError:
    return InputError(
        f"has {count} classes; a map can hold {MAX_ID}", f"field {field!r}", "Choose the field of classes"
    )


def map_classes(names: dict[int, str], colors: dict[str, str]) -> list[MapClass]:
    """Classes with their colours: the user's by name, else what the name suggests, else the palette's by id.

    No colour is given twice as long as the palette lasts.
    """
    chosen = {i: colors[name] for i, name in names.items() if name in colors}
    for i, name in sorted(names.items()):
        expected = next((color for word, color in _EXPECTED.items() if word in name.lower()), None)
        if i not in chosen and expected and expected not in chosen.values():
            chosen[i] = expected
    for i in sorted(set(names) - set(chosen)):
        free = [color for color in _PALETTE if color not in chosen.values()]
        own = _PALETTE[(i - 1) % len(_PALETTE)]
        chosen[i] = own if own in free or not free else free[0]
    return [MapClass(i, name, chosen[i]) for i, name in sorted(names.items())]


def _classes_json(root: Path | None) -> dict[int, str]:
    if root is None or not (root / "classes.json").is_file():
        return {}
    try:
        content = json.loads((root / "classes.json").read_bytes())
        found = {int(key): str(name) for key, name in content.items()}
    except (ValueError, AttributeError):
        raise InputError(
            "is not a JSON object of id to name", str(root / "classes.json"), "Correct or remove it"
        ) from None
    twice = [name for name in found.values() if list(found.values()).count(name) > 1]
    if twice:
        raise InputError(f"gives {twice[0]!r} two ids", str(root / "classes.json"), "Keep one of them")
    return found


def _clean(value: Any) -> Any:
    """None for what is empty, text without blanks around it, int for whole numbers (a number field with empty rows is read as float)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return str(value).strip() or None


def _match(texts: Sequence[str | None], ids: Sequence[Any]) -> tuple[dict[str, int], str]:
    """Name -> id where a text and an id field map one to one and the ids fit; else nothing, and why not.

    A feature with a name and no id takes the id that the name has elsewhere.
    """
    by_name: dict[str, int] = {}
    by_id: dict[int, str] = {}
    for name, i in zip(texts, ids, strict=True):
        if name is None or i is None:
            continue
        if not isinstance(i, int) or not 1 <= i <= MAX_ID:
            return {}, f"{i!r} is no whole number from 1 to {MAX_ID}"
        if by_name.setdefault(name, i) != i:
            return {}, f"{name!r} has the ids {by_name[name]} and {i}"
        if by_id.setdefault(i, name) != name:
            return {}, f"the id {i} stands for {by_id[i]!r} and {name!r}"
    without = sorted({name for name in texts if name is not None} - set(by_name))
    return ({}, f"{without[0]!r} has no id") if without else (by_name, "")


def _differences(names: Mapping[int, str], known: Mapping[int, str]) -> tuple[str, ...]:
    """A note where the layer and `classes.json` number the same names differently."""
    elsewhere = {name: i for i, name in known.items()}
    differ = [(name, i) for i, name in names.items() if elsewhere.get(name, i) != i]
    if not differ:
        return ()
    listed = ", ".join(f"{name!r} is {i} here and {elsewhere[name]} there" for name, i in differ)
    return (f"The labels and classes.json give classes different ids ({listed}): the labels' count.",)


def _lookalikes(names: Sequence[str], field: str) -> list[str]:
    """A note where names differ by capitals only."""
    first: dict[str, str] = {}
    pairs = [(first[n.casefold()], n) for n in names if first.setdefault(n.casefold(), n) != n]
    listed = ", ".join(f"{one!r} and {other!r}" for one, other in pairs)
    return (
        [f"The field {field!r} spells classes in two ways, which are two classes: {listed}."] if pairs else []
    )
