"""The pictures of a report: small SVG drawings that stand in the page itself.

Colours are Okabe and Ito's, which most colour-blind people can tell apart.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

MODEL, FOREST, INK, GRID = "#0072b2", "#d55e00", "#222222", "#dddddd"
_BAR_WIDTH, _BAR_LEFT, _BAR_ROW = 300, 10, 13
_SIDE, _MARGIN = 280, 52


def bars(items: Sequence[tuple[float, Sequence[float], str]]) -> str:
    """Bars from 0 to 100 %, one below the other, each with a line over its interval.

    Args:
        items: value and interval (low, high), 0..1, and colour of each bar.
    """
    height = _BAR_ROW * len(items) + 6
    parts = [_open(_BAR_WIDTH + 2 * _BAR_LEFT, height, "bars of the figures in this row")]
    parts += [
        f'<path d="M{_along(tick):.1f} 0v{height}" stroke="{GRID}"/>' for tick in (0, 0.25, 0.5, 0.75, 1)
    ]
    for number, (value, (low, high), colour) in enumerate(items):
        top = 4 + number * _BAR_ROW
        middle = top + (_BAR_ROW - 3) / 2
        parts.append(
            f'<rect x="{_BAR_LEFT}" y="{top}" width="{_BAR_WIDTH * value:.1f}" height="{_BAR_ROW - 3}" fill="{colour}" '
            'fill-opacity="0.55"/>'
        )
        parts.append(
            f'<path d="M{_along(low):.1f} {middle}H{_along(high):.1f}M{_along(low):.1f} {middle - 4}v8M{_along(high):.1f} '
            f'{middle - 4}v8" stroke="{INK}" stroke-width="1.4"/>'
        )
    return "".join([*parts, "</svg>"])


def bar_axis() -> str:
    """The scale above columns of `bars`."""
    parts = [_open(_BAR_WIDTH + 2 * _BAR_LEFT, 14, "scale from 0 to 100 %")]
    for tick, anchor in ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1, "end")):
        x = _along(tick) + {"start": -8, "middle": 0, "end": 8}[anchor]
        parts.append(
            f'<text x="{x:.1f}" y="11" text-anchor="{anchor}">{100 * tick:.0f}{" %" * (tick == 1)}</text>'
        )
    return "".join([*parts, "</svg>"])


def reliability_curve(bins: Sequence[dict[str, Any]]) -> str:
    """How often the map is right (upwards) by its confidence (to the right); on the dashed diagonal both are equal.

    Args:
        bins: of `judging.reliability`; the area of a dot grows with its pixels.
    """

    def x(value: float) -> float:
        return _MARGIN + _SIDE * value

    def y(value: float) -> float:
        return 10 + _SIDE * (1 - value)

    parts = [_open(_MARGIN + _SIDE + 24, _SIDE + 62, "how often the map is right, by its confidence")]
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(f'<path d="M{x(tick):.0f} {y(0)}V{y(1)}M{x(0)} {y(tick):.0f}H{x(1)}" stroke="{GRID}"/>')
        label = f"{100 * tick:.0f} %"
        parts.append(f'<text x="{x(tick):.0f}" y="{y(0) + 18}" text-anchor="middle">{label}</text>')
        parts.append(f'<text x="{x(0) - 8}" y="{y(tick) + 4:.0f}" text-anchor="end">{label}</text>')
    parts.append(f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="{INK}" stroke-dasharray="5 4"/>')
    points = [(x(item["confidence"]), y(item["accuracy"]), item["n"]) for item in bins]
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{MODEL}" stroke-width="2"/>')
    most = max((n for _, _, n in points), default=1)
    parts += [
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{3 + 7 * (n / most) ** 0.5:.1f}" fill="{MODEL}" fill-opacity="0.75">'
        f"<title>{n} pixels</title></circle>"
        for px, py, n in points
    ]
    parts.append(f'<text x="{x(0.5)}" y="{y(0) + 42}" text-anchor="middle">confidence of the map</text>')
    parts.append(
        f'<text x="12" y="{y(0.5)}" text-anchor="middle" transform="rotate(-90 12 {y(0.5)})">share that is right</text>'
    )
    return "".join([*parts, "</svg>"])


def scatter(
    points: Sequence[tuple[float, float, str]], low: float, high: float, labels: tuple[str, str]
) -> str:
    """Points in a square whose both axes reach from `low` to `high`; on the dashed diagonal both are equal.

    Args:
        points: x, y and colour.
        labels: of the x and the y axis; plain text.
    """
    span = high - low or 1.0

    def x(value: float) -> float:
        return _MARGIN + 12 + _SIDE * (value - low) / span

    def y(value: float) -> float:
        return 10 + _SIDE * (1 - (value - low) / span)

    parts = [_open(_MARGIN + _SIDE + 40, _SIDE + 62, f"{labels[1]} by {labels[0]}")]
    for tick in (low + span * share for share in (0, 0.25, 0.5, 0.75, 1)):
        parts.append(
            f'<path d="M{x(tick):.0f} {y(low)}V{y(high)}M{x(low)} {y(tick):.0f}H{x(high)}" stroke="{GRID}"/>'
        )
        parts.append(f'<text x="{x(tick):.0f}" y="{y(low) + 18}" text-anchor="middle">{tick:.3g}</text>')
        parts.append(f'<text x="{x(low) - 6}" y="{y(tick) + 4:.0f}" text-anchor="end">{tick:.3g}</text>')
    parts.append(f'<path d="M{x(low)} {y(low)}L{x(high)} {y(high)}" stroke="{INK}" stroke-dasharray="5 4"/>')
    parts += [
        f'<circle cx="{x(across):.1f}" cy="{y(up):.1f}" r="3.5" fill="{colour}" fill-opacity="0.7"/>'
        for across, up, colour in points
    ]
    middle = low + span / 2
    parts.append(
        f'<text x="{x(middle)}" y="{y(low) + 42}" text-anchor="middle">{escape(labels[0])}</text>'
        f'<text x="12" y="{y(middle)}" text-anchor="middle" transform="rotate(-90 12 {y(middle)})">{escape(labels[1])}</text>'
    )
    return "".join([*parts, "</svg>"])


def _along(value: float) -> float:
    return _BAR_LEFT + _BAR_WIDTH * value


def _open(width: float, height: float, label: str) -> str:
    return (
        f'<svg role="img" aria-label="{label}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-size="11" fill="{INK}">'
    )
