"""The picture at the end of a pretraining: `loss.svg`, the losses and, where there are any, the probes, by step."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from skysense.aside import write_aside

_WIDTH, _LEFT, _RIGHT, _TOP, _PLOT, _GAP = 960, 70, 250, 56, 280, 64
_BINS = 240  # points of a line at most; of more steps their means are drawn
_TOTAL = "#222222"
#: Okabe and Ito's palette, which most colour-blind people can tell apart; dashes tell its rounds apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b")
_DASHES = ("", "6 3", "2 2")

Points = list[tuple[float, float]]


def write_chart(path: Path, records: Sequence[dict[str, Any]], title: str) -> None:
    """Write the picture of a log.

    Args:
        records: of `journal.read_journal`: "step", "loss", "terms" and, on some steps, "probe".
        title: stands above it.

    Raises:
        StorageError: it cannot be written.
    """
    write_aside(path, chart(records, title).encode())


def chart(records: Sequence[dict[str, Any]], title: str) -> str:
    """The picture as SVG text."""
    total = {"total": _series(records, lambda record: record.get("loss"))}
    # The terms have axes of their own: their sum is many times one of them.
    panels = [("loss", total), ("terms of the loss", _by_name(records, "terms"))]
    if probes := _by_name(records, "probe"):
        panels.append(("mIoU of the probe", probes))
    last = max((record["step"] for record in records), default=1)
    height = _TOP + len(panels) * (_PLOT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222222">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="30" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (label, lines) in enumerate(panels):
        parts += _panel(_TOP + number * (_PLOT + _GAP), label, lines, last)
    return "\n".join([*parts, "</svg>", ""])


def _by_name(records: Sequence[dict[str, Any]], key: str) -> dict[str, Points]:
    names = dict.fromkeys(name for record in records for name in record.get(key, ()))
    return {name: _series(records, lambda record, name=name: record.get(key, {}).get(name)) for name in names}


def _panel(top: float, label: str, lines: dict[str, Points], last: int) -> list[str]:
    values = [y for points in lines.values() for _, y in points]
    ticks = _ticks(min(values, default=0.0), max(values, default=1.0))
    low, high, width, bottom = ticks[0], ticks[-1], _WIDTH - _LEFT - _RIGHT, top + _PLOT

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + width * x / max(last, 1), bottom - _PLOT * (y - low) / (high - low)

    parts = []
    for tick in ticks:
        y = place(0, tick)[1]
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{width}" stroke="#dddddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(0, last):
        if tick <= last:
            x = place(tick, low)[0]
            parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="#222222"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<path d="M{_LEFT} {top}V{bottom}h{width}" fill="none" stroke="#222222"/>')
    parts.append(f'<text x="{_LEFT + width / 2}" y="{bottom + 38}" text-anchor="middle">step</text>')
    middle = top + _PLOT / 2
    parts.append(
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{escape(label)}</text>'
    )
    row = min(20.0, _PLOT / max(len(lines), 1))
    for number, (name, points) in enumerate(lines.items()):
        style = _style(name, number)
        if len(points) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
            parts.append(f'<polyline points="{path}" fill="none" {style}/>')
        elif points:
            x, y = place(*points[0])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="none" {style}/>')
        x, y = _WIDTH - _RIGHT + 20, top + 10 + row * number
        final = f" {points[-1][1]:.3g}" if points else ""
        parts.append(f'<path d="M{x} {y}h24" {style}/>')
        parts.append(f'<text x="{x + 32}" y="{y + 4}">{escape(name)}{final}</text>')
    return parts


def _style(name: str, number: int) -> str:
    if name == "total":
        return f'stroke="{_TOTAL}" stroke-width="2.5"'
    colour, dash = (
        _COLOURS[number % len(_COLOURS)],
        _DASHES[number // len(_COLOURS) % len(_DASHES)],
    )
    return f'stroke="{colour}" stroke-width="1.3"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _series(records: Sequence[dict[str, Any]], value: Any) -> Points:
    """(step, value) of the records that have one; means over equal numbers of records where there are many."""
    points = [(float(record["step"]), float(y)) for record in records if (y := value(record)) is not None]
    size = math.ceil(len(points) / _BINS)
    groups = [points[start : start + size] for start in range(0, len(points), max(size, 1))]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that span low to high."""
    span = high - low or 1.0
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, final = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(final, first + 1) + 1)]
