"""What the user drops: layers, files, folders and scene files become rows of the table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qgis.core import QgsDateTimeRange, QgsProviderRegistry, QgsRasterLayer
from qgis.PyQt.QtCore import QDateTime, Qt

from ..compat import FIXED_RANGE
from .row import Row, RowError, absolute, row_from_scene

_IMAGE_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".img")
_LONGEST_DAYS = 31  # a layer's range longer than a month is no acquisition date


@dataclass
class SceneFile:
    """A scene file's content as the panel needs it.

    Attributes:
        labels: {"path", "field", "layer"?} with an absolute path, or None.
        extra: unknown keys, kept.
    """

    name: str
    root: Path
    rows: list[Row]
    labels: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def scene_file_of(path: str) -> Path | None:
    """The scene file that a path means: itself, or the one in the folder."""
    given = Path(path)
    if given.name.lower() == "scene.json":
        return given
    inside = given / "scene.json"
    return inside if inside.is_file() else None


def images_in(path: str) -> list[str]:
    """The raster files directly in a folder, by name; none if it is no folder."""
    folder = Path(path)
    if not folder.is_dir():
        return []
    return sorted(str(file) for file in folder.iterdir() if file.suffix.lower() in _IMAGE_SUFFIXES)


def read_scene_file(path: Path) -> SceneFile:
    """Read a scene file.

    Raises:
        RowError: it cannot be read, or is no scene file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RowError(f"{path} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise RowError(f"{path} is not a scene file: its text is not valid JSON ({error}).") from None
    if not isinstance(data, dict) or not isinstance(data.get("acquisitions"), list):
        raise RowError(f"{path} is not a scene file: it has no list of acquisitions.")
    root = path.absolute().parent
    labels = data.get("labels")
    if isinstance(labels, dict) and isinstance(labels.get("path"), str):
        labels = {**labels, "path": absolute(labels["path"], root)}
    else:
        labels = None
    known = ("version", "name", "acquisitions", "labels")
    return SceneFile(
        name=str(data.get("name") or root.name),
        root=root,
        rows=[row_from_scene(entry, root) for entry in data["acquisitions"]],
        labels=labels,
        extra={key: value for key, value in data.items() if key not in known},
    )


def row_from_layer(layer: QgsRasterLayer) -> Row:
    """A row from a layer of the project; its fixed temporal range, if set, is the date.

    Raises:
        RowError: the layer is not a raster on this computer.
    """
    date = layer_date(layer)
    return Row(
        path=layer_path(layer),
        date=date,
        stated={"date"} if date else set(),
        layer_id=layer.id(),
        layer_name=layer.name(),
    )


def layer_path(layer: QgsRasterLayer) -> str:
    """The file that a raster layer shows.

    Raises:
        RowError: it is no file (a web map, a virtual raster of an expression, a part of a container file other than a zip file).
    """
    provider = layer.dataProvider()
    kind = provider.name() if provider is not None else layer.providerType()
    if kind != "gdal":
        raise RowError(
            f"The layer “{layer.name()}” is not a file ({kind}). SkySense needs the pixel values: save it with "
            "Export, Save As… and add the file."
        )
    parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
    path = str(parts.get("path") or "")
    if parts.get("vsiPrefix") == "/vsizip/" and parts.get("vsiSuffix") and not parts.get("layerName"):
        return f"/vsizip/{path}{parts['vsiSuffix']}"
    if not path or parts.get("layerName") or (not path.startswith("/vsi") and not Path(path).exists()):
        raise RowError(
            f"The layer “{layer.name()}” is not a plain raster file. Add the file or product folder that it comes from."
        )
    return path if path.startswith("/vsi") else str(Path(path).absolute())


def layer_date(layer: QgsRasterLayer) -> str:
    """The ISO date of a layer's fixed temporal range, "" if it has none or one longer than a month."""
    properties = layer.temporalProperties()
    if properties is None or not properties.isActive() or properties.mode() != FIXED_RANGE:
        return ""
    begin, end = properties.fixedTemporalRange().begin(), properties.fixedTemporalRange().end()
    if not begin.isValid() or (end.isValid() and begin.daysTo(end) > _LONGEST_DAYS):
        return ""
    return begin.date().toString(Qt.DateFormat.ISODate)


def set_layer_dates(layer: QgsRasterLayer, first: str, last: str) -> None:
    """Give a layer the fixed temporal range from the start of `first` to the end of `last` (ISO dates)."""
    begin = QDateTime.fromString(f"{first}T00:00:00", Qt.DateFormat.ISODate)
    end = QDateTime.fromString(f"{last}T23:59:59", Qt.DateFormat.ISODate)
    properties = layer.temporalProperties()
    wanted = QgsDateTimeRange(begin, end)
    if (
        properties.isActive()
        and properties.mode() == FIXED_RANGE
        and properties.fixedTemporalRange() == wanted
    ):
        return
    properties.setIsActive(True)
    properties.setMode(FIXED_RANGE)
    properties.setFixedTemporalRange(wanted)
