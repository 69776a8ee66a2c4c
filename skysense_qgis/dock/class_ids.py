"""The ids that a label layer's classes have got: kept in the project, so that they stay when a class is added."""

from __future__ import annotations

import json
from typing import Any

from qgis.core import QgsProject, QgsVectorLayer

from .project import SCOPE
from .taught import is_number

#: Not a property of the layer: those come and go with its styles.
_KEY = "/class_ids"


def known_ids(layer: QgsVectorLayer, field: str) -> dict[str, int]:
    """Class name -> id in the maps that were trained on this field so far; also of classes that are drawn no more."""
    return _all().get(layer.id(), {}).get(field, {})


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
    found = _all()
    found.setdefault(layer.id(), {})[field] = {**old, **new}
    QgsProject.instance().writeEntry(SCOPE, _KEY, json.dumps(found, ensure_ascii=False))


def _all() -> dict[str, dict[str, dict[str, int]]]:
    """By layer and field."""
    text, _ = QgsProject.instance().readEntry(SCOPE, _KEY, "{}")
    try:
        found = json.loads(text)
    except ValueError:  # edited by hand
        return {}
    return found if isinstance(found, dict) else {}
