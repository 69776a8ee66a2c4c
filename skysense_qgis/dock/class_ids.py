"""The ids that a label layer's classes have got: kept with the layer, in the project, so that they stay when a class is added."""

from __future__ import annotations

import json
from typing import Any

from qgis.core import QgsVectorLayer

from .taught import is_number

_PROPERTY = "skysense/class_ids"


def known_ids(layer: QgsVectorLayer, field: str) -> dict[str, int]:
    """Class name -> id in the maps that were trained on this field so far; also of classes that are drawn no more."""
    return _all(layer).get(field, {})


def remember_ids(layer: QgsVectorLayer | None, field: str, classes: list[dict[str, Any]]) -> None:
    """Keep the ids that a training has given; a field of whole numbers has its own.

    Args:
        layer: None = it was removed meanwhile.
        classes: {"id", "name", …} as the worker gives them. They count where an id was another class's before.
    """
    if layer is None or is_number(layer, field):
        return
    new = {str(item["name"]): int(item["id"]) for item in classes}
    old = {name: i for name, i in known_ids(layer, field).items() if i not in new.values()}
    layer.setCustomProperty(_PROPERTY, json.dumps({**_all(layer), field: {**old, **new}}, ensure_ascii=False))


def _all(layer: QgsVectorLayer) -> dict[str, dict[str, int]]:
    """By field."""
    try:
        found = json.loads(layer.customProperty(_PROPERTY, "{}"))
    except (TypeError, ValueError):  # edited by hand
        return {}
    return found if isinstance(found, dict) else {}
