"""The scene as Processing's parameters have it: a scene file, or layers of each sensor and their dates."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsMapLayer,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterString,
)

from ..dock.row import RowError, parse_date
from ..dock.sources import row_from_layer

SCENE, DATES = "SCENE", "DATES"
#: Parameter of each sensor's layers, its modality in the scene, and its title.
SENSORS = (
    ("HR", "hr", "Aerial or satellite picture (HR)"),
    ("S2", "s2", "Sentinel-2 layers, one for each date"),
    ("S1", "s1", "Sentinel-1 layers, one for each date"),
)
DATES_HELP = (
    "Acquisition dates, where neither the layers' temporal range nor the files tell them: "
    "name=YYYY-MM-DD; name=YYYY-MM-DD; … or all dates in the order of the layers, HR first, then Sentinel-2, "
    "then Sentinel-1."
)


class SceneProblem(Exception):
    """What is wrong with the chosen scene or layers, as one sentence for the user."""


def add_scene_parameters(algorithm: QgsProcessingAlgorithm) -> None:
    """Add the parameters from which `read_scene` makes a scene."""
    algorithm.addParameter(
        QgsProcessingParameterFile(
            SCENE,
            "Scene file (instead of layers)",
            optional=True,
            fileFilter="Scene (*.json);;All files (*)",
        )
    )
    for name, _, title in SENSORS:
        algorithm.addParameter(
            QgsProcessingParameterMultipleLayers(name, title, QgsProcessing.TypeRaster, optional=True)
        )
    dates = QgsProcessingParameterString(DATES, "Acquisition dates", optional=True)
    dates.setHelp(DATES_HELP)
    algorithm.addParameter(dates)


def read_scene(
    algorithm: QgsProcessingAlgorithm, parameters: dict[str, Any], context: QgsProcessingContext
) -> str | dict[str, Any]:
    """The scene for the recipe: the scene file's path as given, or a scene object with absolute paths.

    Layers are read here, so call it on the main thread (`checkParameterValues`, `prepareAlgorithm`).

    Raises:
        SceneProblem: nothing or too much is chosen, a layer is no file on this computer, or a date is not one.
    """
    file = algorithm.parameterAsString(parameters, SCENE, context).strip()
    layers = [
        (modality, layer)
        for name, modality, _ in SENSORS
        for layer in algorithm.parameterAsLayerList(parameters, name, context)
    ]
    chosen = sum(_count(parameters.get(name)) for name, _, _ in SENSORS)
    if chosen != len(layers):
        raise SceneProblem(f"Of the {chosen} chosen raster layers only {len(layers)} can be opened.")
    dates = algorithm.parameterAsString(parameters, DATES, context).strip()
    if file and layers:
        raise SceneProblem("Choose either a scene file or layers, not both.")
    if file:
        if not Path(file).exists():
            raise SceneProblem(f"The scene file {file} does not exist.")
        if dates:
            raise SceneProblem("Dates go with layers; a scene file has its own.")
        return file
    if not layers:
        raise SceneProblem("Choose a scene file, or at least one HR, Sentinel-2 or Sentinel-1 layer.")
    try:
        entries = [_acquisition(modality, layer) for modality, layer in layers]
        found = parse_dates(
            dates, [(layer.name(), Path(entry["path"]).name) for (_, layer), entry in zip(layers, entries)]
        )
    except RowError as error:
        raise SceneProblem(str(error)) from None
    for entry, date in zip(entries, found):
        if date:
            entry["date"] = date
    return {"version": 1, "name": "layers", "acquisitions": entries}


def parse_dates(text: str, names: list[tuple[str, str]]) -> list[str | None]:
    """The ISO date given for each layer, or None where none is given.

    Args:
        text: "name=2023-05-01; other=2023-05-06" with layer or file names (the file's suffix may be left out), or
            as many dates as there are layers, in their order; "" = none.
        names: (layer name, file name) of each layer.

    Raises:
        RowError: a date is not one.
        SceneProblem: a name fits no layer, or the number of dates is not that of the layers.
    """
    entries = [entry.strip() for entry in re.split(r"[;\n]", text) if entry.strip()]
    if not any("=" in entry for entry in entries):
        if entries and len(entries) != len(names):
            raise SceneProblem(
                f"There are {len(entries)} dates for {len(names)} layers; write name=date instead."
            )
        return [parse_date(entry) for entry in entries] or [None] * len(names)
    found: list[str | None] = [None] * len(names)
    for entry in entries:
        name, _, value = (part.strip() for part in entry.rpartition("="))
        places = [i for i, (layer, file) in enumerate(names) if name in (layer, file, Path(file).stem)]
        if not places:
            raise SceneProblem(f"No chosen layer is called “{name}”, for which a date is given.")
        for place in places:
            found[place] = parse_date(value)
    return found


def _acquisition(modality: str, layer: QgsMapLayer) -> dict[str, Any]:
    """A layer as an entry of the scene; its date only if the layer has a temporal range, else the file tells it.

    Raises:
        RowError: the layer is no raster file on this computer.
    """
    row = row_from_layer(layer)
    entry = {"modality": modality, "path": row.path}
    return {**entry, "date": row.date} if row.date else entry


def _count(value: Any) -> int:
    """How many layers a value of a multiple layers parameter names."""
    if not value:
        return 0
    return (
        len(value)
        if isinstance(value, (list, tuple))
        else len([part for part in str(value).split(";") if part])
    )


def read_split(text: str) -> str:
    """The first day of the second period, see `read_day`."""
    return read_day(text, "the first day of the second period")


def read_day(text: str, what: str) -> str:
    """A day as YYYY-MM-DD; "" where none is given.

    Args:
        what: it is, for errors.

    Raises:
        SceneProblem: it is no day.
    """
    if not text.strip():
        return ""
    try:
        return datetime.date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        raise SceneProblem(f"“{text}” is no day; write {what} as YYYY-MM-DD.") from None
