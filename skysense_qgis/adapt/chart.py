"""The live chart of a training's loss, drawn with Qt's painter."""

from __future__ import annotations

import itertools
import math

from qgis.PyQt.QtCore import QPointF, QRectF, QSize, Qt
from qgis.PyQt.QtGui import (
    QColor,
    QFontMetricsF,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPalette,
    QPen,
    QTextOption,
)
from qgis.PyQt.QtWidgets import QSizePolicy, QWidget

_MOST_DRAWN = 2000  # more points than a screen has columns
_REACH = 20  # the smooth line averages a 20th of the points to either side
_SPACE = 6.0  # pixels between tick, number and title
_TICKS = (6, 4)  # at most so many steps between ticks, along and upwards
_READABLE = 3.0  # contrast that a line needs against its ground (WCAG 2.1, graphical objects)


class LossChart(QWidget):
    """Loss over steps: each value pale, the smoothed line strong.

    Coordinates are the widget's pixels. With no values it shows `empty_text`.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.empty_text = "The chart begins with the first steps."
        self._total = 0
        self._points: list[tuple[int, float]] = []  # step, loss

    @property
    def points(self) -> list[tuple[int, float]]:
        """(step, loss) of every value that is kept, in the order of the steps."""
        return list(self._points)

    def clear(self, total: int = 0) -> None:
        """Start empty; `total` steps are expected (0 = unknown: the axis ends at the newest)."""
        self._total, self._points = total, []
        self.update()

    def add(self, step: int, loss: float) -> None:
        """Append a value. One that is no number is left out; a step back begins a stretch that is done again."""
        if not math.isfinite(loss):
            return
        if self._points and step <= self._points[-1][0]:
            self._points = [point for point in self._points if point[0] < step]
        self._points.append((step, loss))
        self.update()

    def ranges(self) -> tuple[float, float, float, float]:
        """First and last step, lowest and highest loss that the axes reach; the losses are ticks."""
        steps, losses = zip(*self._points)
        ticks = nice_ticks(min(losses), max(losses), _TICKS[1])
        return 0.0, float(max(self._total, steps[-1], 1)), ticks[0], ticks[-1]

    def plot_rect(self) -> QRectF:
        """The rectangle between the axes; empty if there are no values."""
        if not self._points:
            return QRectF()
        metrics = QFontMetricsF(self.font())
        _, last, low, high = self.ranges()
        numbers = max(
            metrics.horizontalAdvance(text) for text in tick_texts(nice_ticks(low, high, _TICKS[1]))
        )
        left = metrics.height() + numbers + 2 * _SPACE
        right = metrics.horizontalAdvance(f"{last:.0f}") / 2 + _SPACE
        top = metrics.height() / 2 + _SPACE
        bottom = 2 * metrics.height() + 2 * _SPACE
        return QRectF(left, top, self.width() - left - right, self.height() - top - bottom)

    def position(self, step: float, loss: float) -> QPointF:
        """Where a value is drawn."""
        plot = self.plot_rect()
        first, last, low, high = self.ranges()
        return QPointF(
            plot.left() + plot.width() * (step - first) / (last - first),
            plot.bottom() - plot.height() * (loss - low) / (high - low),
        )

    def sizeHint(self) -> QSize:
        return QSize(420, 200)

    def minimumSizeHint(self) -> QSize:
        return QSize(240, 130)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        ground = palette.color(QPalette.ColorRole.Base)
        text = palette.color(QPalette.ColorRole.Text)
        painter.fillRect(self.rect(), ground)
        painter.setPen(text)
        if not self._points:
            painter.setPen(mix(text, ground, 0.7))
            option = QTextOption(Qt.AlignmentFlag.AlignCenter)  # wraps between words
            painter.drawText(QRectF(self.rect()).adjusted(12, 12, -12, -12), self.empty_text, option)
        else:
            self._draw_axes(painter, text, ground)
            self._draw_lines(painter, palette, ground)
        painter.end()

    def _draw_axes(self, painter: QPainter, text: QColor, ground: QColor) -> None:
        plot, height = self.plot_rect(), QFontMetricsF(self.font()).height()
        first, last, low, high = self.ranges()
        grid, center = mix(text, ground, 0.15), QTextOption(Qt.AlignmentFlag.AlignCenter)
        right = QTextOption(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        upwards = nice_ticks(low, high, _TICKS[1])
        for value, number in zip(upwards, tick_texts(upwards)):
            y = self.position(first, value).y()
            painter.setPen(grid)
            painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
            painter.setPen(text)
            painter.drawText(QRectF(0, y - height / 2, plot.left() - _SPACE, height), number, right)
        along = [
            value for value in nice_ticks(first, last, _TICKS[0]) if value <= last and value == round(value)
        ]
        for value in along:
            x = self.position(value, low).x()
            painter.setPen(mix(text, ground, 0.6))
            painter.drawLine(QPointF(x, plot.bottom()), QPointF(x, plot.bottom() + _SPACE / 2))
            painter.setPen(text)
            painter.drawText(QRectF(x - 40, plot.bottom() + _SPACE, 80, height), f"{value:.0f}", center)
        painter.setPen(mix(text, ground, 0.6))
        painter.drawLine(plot.bottomLeft(), plot.bottomRight())
        painter.drawLine(plot.bottomLeft(), plot.topLeft())
        painter.setPen(text)
        below = QRectF(plot.left(), plot.bottom() + height + _SPACE, plot.width(), height)
        painter.drawText(below, "Steps done", center)
        painter.save()
        painter.translate(0, plot.center().y())
        painter.rotate(-90)
        painter.drawText(QRectF(-plot.height() / 2, 0, plot.height(), height + 2), "Loss", center)
        painter.restore()

    def _draw_lines(self, painter: QPainter, palette: QPalette, ground: QColor) -> None:
        strong = line_color(palette)
        painter.setClipRect(self.plot_rect().adjusted(-4, -4, 4, 4))
        if len(self._points) == 1:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(strong)
            painter.drawEllipse(self.position(*self._points[0]), 3, 3)
            return
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(mix(strong, ground, 0.35), 1.0))
        losses = [loss for _, loss in self._points]
        painter.drawPath(self._path(losses))
        painter.setPen(QPen(strong, 2.0))
        painter.drawPath(self._path(smooth(losses)))

    def _path(self, losses: list[float]) -> QPainterPath:
        plot = self.plot_rect()
        first, last, low, high = self.ranges()
        along, upwards = plot.width() / (last - first), plot.height() / (high - low)
        path = QPainterPath()
        newest = len(losses) - 1
        stride = 1 + newest // _MOST_DRAWN
        # Counted from the newest, so that it is among them.
        for number in range(newest % stride, newest + 1, stride):
            step, loss = self._points[number][0], losses[number]
            x, y = plot.left() + along * (step - first), plot.bottom() - upwards * (loss - low)
            if path.elementCount():
                path.lineTo(x, y)
            else:
                path.moveTo(x, y)
        return path


def smooth(values: list[float]) -> list[float]:
    """Each value's mean with its neighbours, as many on either side: the line does not lag, and ends where they end."""
    reach = max(1, len(values) // _REACH)
    sums = [0.0, *itertools.accumulate(values)]
    means = []
    for number in range(len(values)):
        side = min(reach, number, len(values) - 1 - number)
        means.append((sums[number + side + 1] - sums[number - side]) / (2 * side + 1))
    return means


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose low..high in at most `most` + 2 steps."""
    if not high > low:
        half = abs(low) * 0.1 or 0.5
        low, high = low - half, high + half
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_texts(ticks: list[float]) -> list[str]:
    """The ticks as numbers of equally many decimals, as few as tell them apart."""
    step = ticks[1] - ticks[0]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick:.{decimals}f}" for tick in ticks]


def mix(color: QColor, ground: QColor, share: float) -> QColor:
    """`share` of a colour over a ground, opaque."""
    parts = zip(color.getRgbF()[:3], ground.getRgbF()[:3])
    return QColor.fromRgbF(*(share * one + (1 - share) * other for one, other in parts))


def line_color(palette: QPalette) -> QColor:
    """The theme's highlight colour where it stands out from the ground, else that of the text."""
    ground = palette.color(QPalette.ColorRole.Base)
    highlight = palette.color(QPalette.ColorRole.Highlight)
    return highlight if contrast(highlight, ground) >= _READABLE else palette.color(QPalette.ColorRole.Text)


def contrast(one: QColor, other: QColor) -> float:
    """The contrast ratio of two colours, 1..21 (WCAG 2.1)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: QColor) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color.getRgbF()[:3]
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
