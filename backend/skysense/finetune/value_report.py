"""The report of a training on numbers as files: a page for people, a table for spreadsheets, and the figures for programs."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from skysense.aside import write_aside
from skysense.finetune.report import PAGE, csv_bytes
from skysense.finetune.report_charts import FOREST, MODEL, scatter
from skysense.finetune.report_page import TOO_NEAR, document, facts_table
from skysense.jobs.sidecar import write_json

_TITLES = {
    "rmse": ("RMSE", "typical error, large ones weighing more"),
    "mae": ("MAE", "mean error, whatever its sign"),
    "r2": ("R²", "share of the polygons' differences that is explained; 1 is all, 0 no more than the mean"),
    "bias": ("Bias", "mean of mapped minus true: above 0 the map says too much"),
}


def write_value_report(
    folder: Path, report: dict[str, Any], field: str, scene: str, told: Mapping[str, str]
) -> Path:
    """Write `report.html` (whole in itself), `report.json` and `polygons.csv` into a folder.

    Args:
        folder: see `report.open_folder`; files of these names are replaced.
        report: of `value_judging.judge_values`.
        field: what the numbers are.
        scene: its name, for the title.
        told: see `report.facts`.

    Returns:
        The page's path.

    Raises:
        StorageError: a file cannot be written.
    """
    write_json(
        folder / "report.json", {"scene": scene, "facts": dict(told), "field": field, "report": report}
    )
    names = ("number", "true", "given", "forest", "n_pixels")
    rows = [[item[name] for name in names] for item in report["polygons"]]
    write_aside(folder / "polygons.csv", csv_bytes([["polygon", "true", "model", "forest", "pixels"], *rows]))
    write_aside(folder / PAGE, _page(report, field, scene, told).encode())
    return folder / PAGE


def summary(report: dict[str, Any], field: str) -> str:
    """One or two lines for a terminal."""
    text = f"{field}: {report['n_polygons']} polygons, {report['n_pixels']} pixels; {report['scored_on']}"
    if report["rmse"] is None:
        return text
    for name, found in (("", report), ("\n  a random forest on the bands alone", report["forest"])):
        text += f"{name}: RMSE {found['rmse']:.4g}, MAE {found['mae']:.4g}, R² {found['r2']:.3f}, bias {found['bias']:+.3g}"
    return text


def _page(report: dict[str, Any], field: str, scene: str, told: Mapping[str, str]) -> str:
    title = f"Training report: {escape(scene)}, {escape(field)}"
    return document(
        title,
        [
            f"<h1>{title}</h1>",
            f'<p class="small">{report["n_polygons"]} polygons, {report["n_pixels"]} labelled pixels</p>',
            f'<p class="lead">{escape(_verdict(report, field))}</p>',
            *_figures(report),
            *_scatter(report, field),
            *_method(report),
            *facts_table(told),
        ],
    )


def _verdict(report: dict[str, Any], field: str) -> str:
    """How good the map will be, and whether a forest is better."""
    if report["rmse"] is None:
        return "Nothing can be judged yet: at least five polygons must lie apart from each other."
    low, _, high = report["range"]
    text = (
        f"On a polygon that it has not seen, the map errs by about {report['mae']:.3g} in {field} (the polygons' numbers reach from "
        f"{low:.3g} to {high:.3g}). "
    )
    less, more = report["forest"]["difference"]["interval"]
    beside = f"(RMSE: model {report['rmse']:.3g}, forest {report['forest']['rmse']:.3g})"
    if more < 0:
        return text + f"The model is better here than a random forest on the same polygons {beside}."
    if less > 0:
        return text + f"A random forest on the same polygons was better on this scene {beside}."
    return (
        text + f"So few polygons cannot tell whether the model or a random forest is the better one {beside}."
    )


def _figures(report: dict[str, Any]) -> list[str]:
    if report["rmse"] is None:
        return []
    boxes = []
    for name, (title, meaning) in _TITLES.items():
        told = [
            f"{found[name]:.3g} &nbsp;<small>{found['intervals'][name][0]:.3g} to {found['intervals'][name][1]:.3g}</small>"
            for found in (report, report["forest"])
        ]
        boxes.append(
            f'<div class="figure">{title}<br><b>{told[0]}</b><br><i>random forest: {told[1]}</i>'
            f'<p class="small">{meaning}</p></div>'
        )
    return [
        '<div class="figures">',
        *boxes,
        "</div>",
        '<p class="small">Behind each figure: the range that holds it with a chance of 90 %. All are measured on the means of '
        "polygons that the training had not seen.</p>",
    ]


def _scatter(report: dict[str, Any], field: str) -> list[str]:
    if not report["polygons"]:
        return []
    items = report["polygons"]
    points = [(item["true"], item["forest"], FOREST) for item in items]
    points += [(item["true"], item["given"], MODEL) for item in items]
    numbers = [number for across, up, _ in points for number in (across, up)]
    chart = scatter(points, min(numbers), max(numbers), (f"{field} of the polygon", f"{field} as mapped"))
    return [
        "<h2>Mapped against true</h2>",
        f'<p class="small key"><span style="background:{MODEL}"></span>model <span style="background:{FOREST}"></span>random '
        "forest</p>",
        chart,
        '<p class="small">Each dot is a polygon. Above the dashed line the map says too much, below it too little; most methods say '
        "too much of the small and too little of the large.</p>",
    ]


def _method(report: dict[str, Any]) -> list[str]:
    if report["rmse"] is None:
        return []
    times = "once" if report["repeats"] == 1 else f"{report['repeats']} times, dealt anew each time"
    return [
        "<h2>How this was measured</h2>",
        f"<p>The polygons were dealt into groups, {times}; each group was mapped by a training that had not seen it. Polygons that "
        "nearly touch were kept in one group, as far as that left groups enough; those that overlap always were. Each polygon counts "
        "once, whatever its size. The ranges come from weighing such neighbourhoods at random, 1,000 times.</p>",
        f'<p class="small">{TOO_NEAR} Nor can it see places unlike every polygon. The map never says more than the largest or less than '
        "the smallest number that was drawn.</p>",
    ]
