"""Keeps the panel's content in the QGIS project; paths go through the project's own path rules."""

from __future__ import annotations

import json
from typing import Any

from qgis.core import QgsProject

from .row import Row

SCOPE = "SkySense"
_KEY = "/scene"
_FORMAT = 1
_PATHS = ("root", "model", "base", "folder")


def store(project: QgsProject, state: dict[str, Any]) -> None:
    """Write the panel's content.

    Args:
        state: {"name", "rows": [Row], "root", "extra", "labels", "field", "date_field", "target", "model", "base", "dates", "folder"}.
    """
    rows = []
    for row in state["rows"]:
        extra = dict(row.extra)
        if isinstance(extra.get("mask"), str):
            extra["mask"] = project.writePath(extra["mask"])
        rows.append(
            {
                "path": project.writePath(row.path),
                "modality": row.modality,
                "date": row.date,
                "bands": row.bands,
                "extra": extra,
                "stated": sorted(row.stated),
                "layer": row.layer_id,
                "layer_name": row.layer_name,
            }
        )
    paths = {key: project.writePath(state[key]) if state[key] else "" for key in _PATHS}
    data = {"format": _FORMAT, **state, "rows": rows, **paths}
    project.writeEntry(SCOPE, _KEY, json.dumps(data, ensure_ascii=False))


def restore(project: QgsProject) -> dict[str, Any] | None:
    """Read what `store` wrote; None = the project has nothing of ours, or from a newer version."""
    text, known = project.readEntry(SCOPE, _KEY, "")
    if not known or not text:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        return None
    rows = []
    for entry in data["rows"]:
        extra = dict(entry["extra"])
        if isinstance(extra.get("mask"), str):
            extra["mask"] = project.readPath(extra["mask"])
        rows.append(
            Row(
                path=project.readPath(entry["path"]),
                modality=entry["modality"],
                date=entry["date"],
                bands=entry["bands"],
                extra=extra,
                stated=set(entry["stated"]),
                layer_id=entry["layer"],
                layer_name=entry["layer_name"],
            )
        )
    # A project from before there was a choice of the base model, of dates, of a date field or of what is taught has none.
    paths = {key: project.readPath(data[key]) if data.get(key) else "" for key in _PATHS}
    return {"dates": "all", "date_field": "", "target": "classes", **data, "rows": rows, **paths}
