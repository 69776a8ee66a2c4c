"""What a run is told: its folder with the scene and the labels, and the recipe."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path
from typing import Any

from qgis.core import QgsProject, QgsVectorLayer

from ..paths import data_folder
from .class_ids import known_ids
from .export import LAYER_NAME, class_colors, export_labels
from .row import RowError

TRAIN, MAP = "finetune", "predict"


def default_folder() -> Path:
    """Where results go if the user says nothing: beside the project, else the per-user folder."""
    home = QgsProject.instance().homePath()
    return Path(home) / "skysense" if home else data_folder() / "results"


def make_run_folder(parent: Path, scene: dict[str, Any], root: Path | None) -> Path:
    """Make the folder of a run with its scene file (and the class ids that belong to the scene, if it has some).

    Args:
        parent: the output folder.
        scene: with absolute paths.
        root: folder of the scene file that the scene came from; its `classes.json` is taken along.

    Raises:
        RowError: it cannot be written; a sentence.
    """
    name = re.sub(r"[^\w.-]+", "_", str(scene.get("name") or "scene")).strip("_") or "scene"
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder, number = parent / f"{name}_{stamp}", 1
        while folder.exists():
            number += 1
            folder = parent / f"{name}_{stamp}-{number}"
        folder.mkdir()
        text = json.dumps(scene, indent=1, ensure_ascii=False)
        (folder / "scene.json").write_text(text + "\n", encoding="utf-8")
        if root is not None and (root / "classes.json").is_file():
            shutil.copyfile(str(root / "classes.json"), str(folder / "classes.json"))
    except OSError as error:
        raise RowError(
            f"The output folder {parent} cannot be used ({error.strerror}). Choose another one."
        ) from None
    return folder


def training(
    folder: Path, labels: QgsVectorLayer, fields: dict[str, str], base: str, options: dict[str, Any]
) -> dict[str, Any]:
    """The recipe (C4) of a training in a run's folder, where the labels are written as they are now.

    Args:
        fields: of the labels, as the recipe names them: "field" of the class, "date_field" if they are true on one day each.
        base: path of the base model; "" = the built-in one.
        options: of the recipe, beside the colours of classes and the ids that they have had.

    Raises:
        RowError: the labels cannot be written; a sentence.
    """
    path = folder / "labels.gpkg"
    export_labels(labels, path)
    field, classes = fields["field"], {}
    if options.get("target") != "values":
        classes = {"colors": class_colors(labels, field), "ids": known_ids(labels, field)}
    return {
        **_recipe(TRAIN, folder, "model.safetensors"),
        "labels": {"path": str(path), "layer": LAYER_NAME, **fields},
        "options": {**classes, **options},
        **({"model": base} if base else {}),
    }


def mapping(folder: Path, model: str, options: dict[str, Any], output: str) -> dict[str, Any]:
    """The recipe (C4) of a map in a run's folder, or of what else the model makes.

    Args:
        output: name of the result's file.
    """
    return {**_recipe(MAP, folder, output), "model": model, "options": options}


def _recipe(task: str, folder: Path, output: str) -> dict[str, Any]:
    return {
        "skysense": 1,
        "task": task,
        "scene": str(folder / "scene.json"),
        "output": str(folder / output),
    }
