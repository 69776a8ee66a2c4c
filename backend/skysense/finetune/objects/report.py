"""The report of a training on objects as files: a page for people, a table for spreadsheets, and the figures for programs."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from skysense.aside import write_aside
from skysense.finetune.report import PAGE, csv_bytes
from skysense.finetune.report_page import document, facts_table
from skysense.jobs.sidecar import write_json

_TITLES = {
    "f1": ("F1", "how well what is found and what is there agree; 1 is in full"),
    "precision": ("Precision", "share of what is found that is an object"),
    "recall": ("Recall", "share of the objects that is found"),
    "ap": ("Average precision", "precision over all thresholds of confidence; 1 is the best"),
}


def write_object_report(
    folder: Path,
    report: dict[str, Any],
    classes: Sequence[Mapping[str, Any]],
    scene: str,
    told: Mapping[str, str],
) -> Path:
    """Write `report.html` (whole in itself), `report.json` and `classes.csv` into a folder.

    Args:
        folder: see `report.open_folder` of the room above; files of these names are replaced.
        report: of `train_objects`.
        classes: "id", "name" and "color" of each class.
        scene: its name, for the title.
        told: what was trained, by name.

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
    rows = [
        [item["id"], names[item["id"]], item["n_objects"], item["found"], item["right"]]
        + [round(item[name], 4) for name in _TITLES]
        for item in report["classes"]
    ]
    write_aside(
        folder / "classes.csv", csv_bytes([["id", "class", "objects", "found", "right", *_TITLES], *rows])
    )
    write_aside(folder / PAGE, _page(report, names, scene, told).encode())
    return folder / PAGE


def summary(report: Mapping[str, Any]) -> str:
    """One line for a terminal."""
    low, high = report["intervals"]["f1"]
    return (
        f"{report['n_objects']} objects; {report['scored_on']} ({report['found_by']}): F1 {report['f1']:.3f} ({low:.2f} to "
        f"{high:.2f}), precision {report['precision']:.3f}, recall {report['recall']:.3f}, average precision {report['ap']:.3f}"
    )


def _page(report: Mapping[str, Any], names: Mapping[int, str], scene: str, told: Mapping[str, str]) -> str:
    title = f"Training report: {escape(scene)}, objects"
    boxes = [
        f'<div class="figure">{name}<br><b>{report[key]:.2f} &nbsp;<small>{report["intervals"][key][0]:.2f} to '
        f'{report["intervals"][key][1]:.2f}</small></b><p class="small">{meaning}</p></div>'
        for key, (name, meaning) in _TITLES.items()
    ]
    rows = [
        f"<tr><td>{escape(names[item['id']])}</td><td>{item['n_objects']}</td><td>{item['found']}</td><td>{item['right']}</td>"
        + "".join(f"<td>{item[key]:.2f}</td>" for key in _TITLES)
        + "</tr>"
        for item in report["classes"]
    ]
    heads = "".join(f"<th>{escape(name)}</th>" for name, _ in _TITLES.values())
    return document(
        title,
        [
            f"<h1>{title}</h1>",
            f'<p class="small">{report["n_objects"]} objects in {report["n_blocks"]} blocks</p>',
            f'<p class="lead">{escape(_verdict(report))}</p>',
            f"<p>{escape(_confidence(report))}</p>",
            '<div class="figures">',
            *boxes,
            "</div>",
            '<p class="small">Behind each figure: the range that holds it with a chance of 90 %.</p>',
            f"<table><tr><th>class</th><th>objects</th><th>found</th><th>right</th>{heads}</tr>",
            *rows,
            "</table>",
            "<h2>How this was measured</h2>",
            f"<p>The objects were parted into blocks of neighbours, dealt into {report['folds']} groups; each group was looked for by a "
            f"training that had not seen it. An object counts as found by {escape(report['found_by'])}, once. The threshold of "
            "confidence and the length of the training were chosen on the same objects, which flatters the figures a little. The "
            "ranges come from drawing the blocks at random, 1,000 times.</p>",
            '<p class="small">What this cannot see: ground unlike that around the drawn objects, where more may be found that is '
            "none.</p>",
            *facts_table(told),
        ],
    )


def _confidence(report: Mapping[str, Any]) -> str:
    """What the confidence of a find means, and how far off it is; nothing where nothing was found."""
    bins, error = report["reliability"]["bins"], report["reliability"]["error"]
    if not bins:
        return ""
    return (
        "The confidence of what is found says how many of 100 such finds are objects, told by those that were right here. On groups of "
        f"neighbours that had no say in it, it is off by {100 * error:.0f} of 100 on average."
    )


def _verdict(report: Mapping[str, Any]) -> str:
    """How good the layer will be."""
    missed, wrong = 1 - report["recall"], 1 - report["precision"]
    return (
        f"Of 100 objects like the drawn ones about {100 * missed:.0f} are missed, and of 100 that are found about "
        f"{100 * wrong:.0f} are none."
    )
