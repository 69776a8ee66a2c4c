"""The report of a training as files: a page for people, tables for spreadsheets, and the figures for programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skysense.aside import storage_error, write_aside
from skysense.finetune.report_page import page
from skysense.finetune.witnesses import OF_CLASS
from skysense.jobs.sidecar import write_json
from skysense.scene.sensors import SENSORS

PAGE = "report.html"


def open_folder(folder: Path) -> None:
    """Make the folder of a report, before the work whose report it is to hold.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from None


def facts(header: Mapping[str, Any], labels: str) -> dict[str, str]:
    """What was trained, for `write_report`.

    Args:
        header: of the model file (see `model.modelfile`).
        labels: the label layer as the user knows it.
    """
    inputs, backbone = header["inputs"], header["backbone"]
    imagery = []
    for modality in inputs["modalities"]:
        series = inputs["series"].get(modality)
        title, bands = SENSORS[modality].title, series["bands"] if series else inputs["hr_bands"]
        dates = f", dates: {len(series['days'])}" if series else ""
        if inputs.get("moment"):
            dates = ", of each polygon's date"
        imagery.append(f"{title} ({', '.join(bands)}{dates})")
    used = ", ".join(SENSORS[modality].title for modality in inputs["encoded"])
    adapted = {"lora": ", adapted to these labels (lora)", "full": ", trained on these labels (full)"}
    adaptation = header.get("adaptation", {})
    how = adapted[adaptation["mode"]] if adaptation.get("steps") else ""
    if header.get("decoder", {}).get("steps"):
        how += ", with a spatial decoder trained on these labels"
    return {
        "Labels": labels,
        "Imagery": "; ".join(imagery),
        "Base model": f"{backbone['preset']}, {backbone['weights']}{how}; used for: {used or 'nothing, the bands alone are better'}",
        "SkySense": header["version"],
    }


def write_report(
    folder: Path,
    report: dict[str, Any],
    classes: Sequence[Mapping[str, Any]],
    scene: str,
    told: Mapping[str, str],
) -> Path:
    """Write `report.html` (whole in itself), `report.json`, `classes.csv` and `confusion.csv` into a folder.

    Args:
        folder: see `open_folder`; files of these names are replaced.
        report: of `judging.judge`.
        classes: "id", "name" and "color" of each class.
        scene: its name, for the title.
        told: what was trained, by name, in the order to be told (see `facts`).

    Returns:
        The page's path.

    Raises:
        StorageError: a file cannot be written.
    """
    names = {int(item["id"]): str(item["name"]) for item in classes}
    write_json(
        folder / "report.json",
        {"scene": scene, "facts": dict(told), "classes": [dict(item) for item in classes], "report": report},
    )
    write_aside(folder / "classes.csv", csv_bytes(_class_rows(report, names)))
    write_aside(folder / "confusion.csv", csv_bytes(_confusion_rows(report, names)))
    write_aside(folder / PAGE, page(report, classes, scene, told).encode())
    return folder / PAGE


def csv_bytes(rows: Sequence[Sequence[Any]]) -> bytes:
    """A table as spreadsheets read it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    # With a mark of its encoding, without which spreadsheets spoil names beyond ASCII.
    return text.getvalue().encode("utf-8-sig")


def _class_rows(report: dict[str, Any], names: Mapping[int, str]) -> list[list[Any]]:
    """A row a class: figures and their intervals, of the model and of the forest; empty where it cannot be judged."""
    forest = {item["id"]: item for item in report["forest"]["classes"]}
    header = ["id", "class", "polygons", "pixels", "judged"]
    header += [
        f"{who}{name}{end}" for who in ("", "forest_") for name in OF_CLASS for end in ("", "_low", "_high")
    ]
    rows = [header]
    for item in report["classes"]:
        judged = item["intervals"] is not None
        row = [item["id"], names[item["id"]], item["n_polygons"], item["n_pixels"], "yes" if judged else "no"]
        for found in (item, forest[item["id"]]) if judged else ():
            for name in OF_CLASS:
                row += [round(value, 4) for value in (found[name], *found["intervals"][name])]
        rows.append(row + [""] * (len(header) - len(row)))
    return rows


def _confusion_rows(report: dict[str, Any], names: Mapping[int, str]) -> list[list[Any]]:
    """A row a true class, a column a class it is mapped as: held-out pixels, each counted once in every repeat."""
    confusion = report["confusion"]
    if confusion is None:
        return [["true class \\ mapped as"]]
    judged = [names[k] for k in confusion["ids"]]
    return [
        ["true class \\ mapped as", *judged, "a class that cannot be judged"],
        *([name, *counts] for name, counts in zip(judged, confusion["counts"])),
    ]
