"""A report as one HTML page, whole in itself: no scripts, no other files, readable by who has never heard of calibration."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from skysense.finetune.report_charts import FOREST, GRID, INK, MODEL, bar_axis, bars, reliability_curve
from skysense.finetune.report_words import (
    against_bands,
    against_forest,
    between,
    confidence,
    lacking,
    next_steps,
    percent,
    verdict,
)
from skysense.finetune.witnesses import OVERALL

_STYLE = f"""
body {{ font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: {INK}; max-width: 1000px; margin: 2em auto;
  padding: 0 1em; background: #ffffff; }}
h1 {{ font-size: 1.5em; margin-bottom: 0; overflow-wrap: anywhere; }} h2 {{ font-size: 1.15em; margin-top: 2em; }}
p.small, li.small, td.small {{ color: #555555; font-size: 0.9em; }}
.lead {{ font-size: 1.15em; }}
.figures {{ display: flex; flex-wrap: wrap; gap: 1em; }}
.figure {{ border: 1px solid {GRID}; border-radius: 6px; padding: 0.6em 1em; flex: 1 1 15em; }}
.figure b {{ font-size: 1.7em; color: {MODEL}; }} .figure i {{ color: #a34700; font-style: normal; }}
table {{ border-collapse: collapse; }} td, th {{ padding: 0.25em 0.55em; text-align: right; vertical-align: middle; }}
th {{ font-weight: 600; }} th.chart {{ text-align: left; }} tr.line > * {{ border-top: 1px solid {GRID}; }}
.name {{ text-align: left; min-width: 7em; max-width: 17em; overflow-wrap: anywhere; font-weight: normal; }}
.tag {{ display: flex; align-items: baseline; }}
.swatch {{ flex: none; width: 0.8em; height: 0.8em; margin-right: 0.45em; border: 1px solid #888888; }}
.scroll {{ overflow-x: auto; }}
.confusion .name {{ min-width: 13em; }}
.confusion td {{ min-width: 1.9em; padding: 0.25em 0.1em; text-align: center; border: 1px solid #ffffff; }}
.confusion thead th {{ vertical-align: bottom; padding: 0.25em 0.1em; }} .confusion thead th + th {{ text-align: center; }}
.confusion thead span {{ writing-mode: vertical-rl; transform: rotate(180deg); font-weight: normal; display: inline-block;
  max-height: 12em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; text-align: left; }}
.key span {{ display: inline-block; width: 1.4em; height: 0.7em; margin: 0 0.4em 0 1em; opacity: 0.6; }}
svg {{ display: block; max-width: 100%; }}
@media print {{ body {{ margin: 0; max-width: none; }} h2, table, svg {{ break-inside: avoid; }} }}
"""
_TITLES = {
    "oa": ("Overall accuracy", "share of the map's pixels that show the right class"),
    "macro_f1": ("Mean F1", "mean over classes of how well each is found without false alarms"),
    "miou": ("Mean IoU", "mean over classes of the overlap of mapped and true area"),
}


def page(
    report: dict[str, Any], classes: Sequence[Mapping[str, Any]], scene: str, facts: Mapping[str, str]
) -> str:
    """The page as text; arguments as of `report.write_report`."""
    names = {int(item["id"]): str(item["name"]) for item in classes}
    colours = {int(item["id"]): str(item["color"]) for item in classes}
    title = f"Training report: {escape(scene)}"
    body = [
        f"<h1>{title}</h1>",
        f'<p class="small">{len(classes)} classes, {report["n_polygons"]} polygons, {report["n_pixels"]} labelled pixels</p>',
        f'<p class="lead">{escape(verdict(report))} {escape(against_forest(report))} {escape(against_bands(report))}</p>',
        *_overall(report),
        *_steps(report, names),
        *_classes(report, names, colours),
        *_confusion(report, names, colours),
        *_reliability(report),
        *_lacking(report),
        *_method(report),
        *facts_table(facts),
    ]
    return document(title, body)


def document(title: str, body: Sequence[str]) -> str:
    """A whole HTML page; the title and the body's lines are HTML already."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _overall(report: dict[str, Any]) -> list[str]:
    if report["oa"] is None:
        return []
    boxes = [
        f'<div class="figure">{title}<br><b>{percent(report[name])}</b> &nbsp;{between(report["intervals"][name])}<br>'
        f"<i>random forest: {percent(report['forest'][name])} &nbsp;{between(report['forest']['intervals'][name])}</i>"
        f'<p class="small">{meaning}</p></div>'
        for name, (title, meaning) in ((name, _TITLES[name]) for name in OVERALL)
    ]
    return [
        '<div class="figures">',
        *boxes,
        "</div>",
        '<p class="small">Behind each figure: the range that holds the map\'s true figure with a chance of 90 %. All are measured '
        "on polygons that the training had not seen, and cover only the classes that can be judged.</p>",
    ]


def _steps(report: dict[str, Any], names: Mapping[int, str]) -> list[str]:
    steps = next_steps(report, names)
    if not steps:
        return [
            "<h2>What to do next</h2>",
            "<p>Nothing stands out: map the area, and look where its confidence is low.</p>",
        ]
    return ["<h2>What to do next</h2>", "<ul>", *(f"<li>{escape(step)}</li>" for step in steps), "</ul>"]


def _named(k: int, names: Mapping[int, str], colours: Mapping[int, str]) -> str:
    swatch = f'<span class="swatch" style="background:{escape(colours[k])}"></span>'
    return f'<div class="tag">{swatch}<span>{escape(names[k])}</span></div>'


def _classes(report: dict[str, Any], names: Mapping[int, str], colours: Mapping[int, str]) -> list[str]:
    forest = {item["id"]: item for item in report["forest"]["classes"]}
    rows = []
    for item in report["classes"]:
        k, drawn = item["id"], f"<td>{item['n_polygons']}</td>"
        name = f'<th scope="row" class="name">{_named(k, names, colours)}</th>'
        if item["intervals"] is None:
            rows.append(
                f'<tr class="line">{name}{drawn}<td class="small" colspan="5" style="text-align:left">cannot be judged</td></tr>'
            )
            continue
        other = forest[k]
        chart = bars(
            [(item["f1"], item["intervals"]["f1"], MODEL), (other["f1"], other["intervals"]["f1"], FOREST)]
        )
        figures = "".join(f"<td>{percent(item[key])}</td>" for key in ("recall", "precision", "f1", "iou"))
        rows.append(f'<tr class="line">{name}{drawn}<td>{chart}</td>{figures}</tr>')
    judged = any(item["intervals"] for item in report["classes"])
    head = (
        f"<th class='chart'>F1 of model and forest{bar_axis()}</th><th>found</th><th>right</th><th>F1</th><th>IoU</th>"
        if judged
        else "<th></th>"
    )
    key = [
        f'<p class="small key"><span style="background:{MODEL};margin-left:0"></span>the model<span style="background:{FOREST}">'
        "</span>a random forest on the bands alone; the black line is the 90 % range.<br>Found (recall): share of the class's area "
        "that is mapped as it. Right (precision): share of what is mapped as the class that truly is it. F1 is high only "
        "where both are; IoU is the overlap of mapped and true area.</p>"
    ]
    return [
        "<h2>Class by class</h2>",
        *(key if judged else []),
        '<div class="scroll"><table>',
        f'<thead><tr><th class="name">class</th><th>polygons</th>{head}</tr></thead><tbody>',
        *rows,
        "</tbody></table></div>",
    ]


def _confusion(report: dict[str, Any], names: Mapping[int, str], colours: Mapping[int, str]) -> list[str]:
    found = report["confusion"]
    if found is None:
        return []
    ids = found["ids"]
    others = any(row[-1] >= 0.005 for row in found["shares"])
    columns = [(names[k], k) for k in ids] + ([("cannot be judged", None)] if others else [])
    head = "".join(f'<th title="{escape(name)}"><span>{escape(name)}</span></th>' for name, _ in columns)
    rows = []
    for true, shares in zip(ids, found["shares"]):
        cells = "".join(
            f'<td style="background:rgba({"0,114,178" if given == true else "213,94,0"},{0.75 * share:.2f})">'
            f"{'·' if share < 0.005 else f'{100 * share:.0f}'}</td>"
            for share, (_, given) in zip(shares, columns)
        )
        rows.append(f'<tr><th scope="row" class="name">{_named(true, names, colours)}</th>{cells}</tr>')
    return [
        "<h2>What is taken for what</h2>",
        '<p class="small">A row for each true class: in how many per cent of its held-out area the map shows each class (the mean '
        "over its polygons). Blue is right, orange is wrong.</p>",
        f'<div class="scroll"><table class="confusion"><thead><tr><th class="name">true class</th>{head}</tr></thead><tbody>',
        *rows,
        "</tbody></table></div>",
    ]


def _reliability(report: dict[str, Any]) -> list[str]:
    if report["reliability"] is None:
        return []
    return [
        "<h2>Is the map as sure as it should be?</h2>",
        f"<p>{escape(confidence(report))}</p>",
        reliability_curve(report["reliability"]["bins"]),
        '<p class="small">Each dot: the pixels of one range of confidence, the larger the more. On the dashed line the map is right '
        "as often as it says; below it the map is too sure of itself, above it not sure enough.</p>",
    ]


def _lacking(report: dict[str, Any]) -> list[str]:
    told = lacking(report)
    if not told:
        return []
    return [
        "<h2>If a scene lacks a sensor</h2>",
        "<p>The model also maps scenes without some of the imagery that it was trained with, from the values of what is left alone. "
        "Measured on the same polygons in the same way:</p>",
        "<ul>",
        *(f"<li>{escape(sentence)}</li>" for sentence in told),
        "</ul>",
    ]


#: What judging with neighbours held out cannot rule out.
TOO_NEAR = (
    "What this cannot rule out: a base model looks far around each pixel, so a group may fare a little too well where polygons of "
    "other groups are near."
)


def _method(report: dict[str, Any]) -> list[str]:
    if report["oa"] is None:
        return []
    times = "once" if report["repeats"] == 1 else f"{report['repeats']} times, dealt anew each time"
    return [
        "<h2>How this was measured</h2>",
        f"<p>The polygons were dealt into groups, {times}; each group was mapped by a training that had not seen it. Polygons that "
        "nearly touch were kept in one group, as far as that left groups enough to judge every class; those that overlap always "
        "were. Each polygon counts once, whatever its size: its pixels resemble each other. The ranges come from weighing such "
        "neighbourhoods at random, 1,000 times; because a few polygons without an error prove little, an imagined one, half of it "
        "mapped right, is weighed with them.</p>",
        f'<p class="small">{TOO_NEAR} Nor can it see places unlike every polygon, or mixed pixels on the edges of fields and roofs, '
        "which few people draw. For areas that others rely on, check a random sample of the map.</p>",
    ]


def facts_table(facts: Mapping[str, str]) -> list[str]:
    """What was trained, as HTML; facts as of `report.facts`."""
    if not facts:
        return []
    rows = [
        f'<tr class="line"><th class="name">{escape(name)}</th><td class="small" style="text-align:left;overflow-wrap:anywhere">'
        f"{escape(value)}</td></tr>"
        for name, value in facts.items()
    ]
    return ["<h2>What was trained</h2>", "<table>", *rows, "</table>"]
