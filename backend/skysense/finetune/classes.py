"""Which class a polygon belongs to: ids, names and colours (contract C6). They never change when a class is added."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
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


def assign_ids(
    values: Sequence[Any], field: str, columns: Mapping[str, Sequence[Any]], scene_root: Path | None
) -> tuple[list[int | None], dict[int, str]]:
    """Give each feature its class id.

    Order of the rules: an integer field 1..255 as it is; for a text field its integer companion `<field>_id` if
    the two map one to one; else `classes.json` beside the scene (id to name); else 1..N by name.

    Args:
        values: the class field, one entry a feature; None where it is empty.
        field: its name.
        columns: all fields of the layer, by name.
        scene_root: the scene's folder, where `classes.json` may be.

    Returns:
        The id of each feature (None where the field is empty) and the names by id.

    Raises:
        InputError: ids outside 1..255, more than 255 classes, or a name that `classes.json` does not know.
    """
    known = _classes_json(scene_root)
    present = [value for value in values if value not in (None, "")]
    if present and all(
        isinstance(value, int) or (isinstance(value, float) and value.is_integer()) for value in present
    ):
        ids = [None if value in (None, "") else int(value) for value in values]
        outside = sorted({value for value in ids if value is not None and not 1 <= value <= MAX_ID})
        if outside:
            raise InputError(
                f"the class id {outside[0]} is outside 1..{MAX_ID}",
                f"field {field!r}",
                "Use whole numbers from 1 to 255, or a text field with the class names",
            )
        names = _names_beside(field, ids, columns) or {}
        return ids, {
            i: names.get(i) or known.get(i) or f"class {i}" for i in sorted({i for i in ids if i is not None})
        }
    texts = [None if value in (None, "") else str(value).strip() for value in values]
    by_name = _companion(texts, columns.get(f"{field}_id"))
    if by_name is None and known:
        by_name = {name: i for i, name in known.items()}
        strangers = sorted({text for text in texts if text is not None and text not in by_name})
        if strangers:
            raise InputError(
                f"the class {strangers[0]!r} is not in classes.json ({', '.join(sorted(by_name))})",
                f"field {field!r}",
                "Add it to classes.json or correct the label",
            )
    if by_name is None:
        by_name = {
            name: i for i, name in enumerate(sorted({text for text in texts if text is not None}), start=1)
        }
    if len(by_name) > MAX_ID:
        raise InputError(
            f"has {len(by_name)} classes; a map can hold {MAX_ID}",
            f"field {field!r}",
            "Choose the field of classes",
        )
    ids = [None if text is None else by_name[text] for text in texts]
    used = {i for i in ids if i is not None}
    return ids, {i: name for name, i in sorted(by_name.items(), key=lambda item: item[1]) if i in used}


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
        found = json.loads((root / "classes.json").read_text(encoding="utf-8"))
        return {int(key): str(name) for key, name in found.items()}
    except (ValueError, AttributeError):
        raise InputError(
            "is not a JSON object of id to name", str(root / "classes.json"), "Correct or remove it"
        ) from None


def _companion(texts: Sequence[str | None], ids: Sequence[Any] | None) -> dict[str, int] | None:
    """Name -> id from the companion field, if both map one to one and the ids fit."""
    if ids is None:
        return None
    pairs = {(text, i) for text, i in zip(texts, ids) if text is not None}
    if any(not isinstance(i, int) or not 1 <= i <= MAX_ID for _, i in pairs):
        return None
    by_name = {text: int(i) for text, i in pairs}
    one_to_one = len(by_name) == len(pairs) == len(set(by_name.values()))
    return by_name if one_to_one else None


def _names_beside(
    field: str, ids: Sequence[int | None], columns: Mapping[str, Sequence[Any]]
) -> dict[int, str] | None:
    """Names for an integer field `<name>_id` from its text companion `<name>`, if both map one to one."""
    texts = columns.get(field[:-3]) if field.endswith("_id") else None
    if texts is None:
        return None
    named = [None if text in (None, "") else str(text) for text in texts]
    by_name = _companion(named, ids)
    return {i: name for name, i in by_name.items()} if by_name else None
