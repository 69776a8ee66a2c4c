"""“Adapt to my imagery”, what needs no panel: the chart, the plan and the pace."""

import pytest
from qgis.core import QgsSettings
from qgis.PyQt.QtCore import QPointF
from qgis.PyQt.QtGui import QColor, QFontMetricsF, QPalette

from skysense_qgis.adapt import plan
from skysense_qgis.adapt.chart import LossChart, contrast, line_color, nice_ticks, smooth, tick_texts
from skysense_qgis.adapt.pace import Pace, pace_text, remember_pace, remembered_pace

# The chart ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def chart():
    chart = LossChart()
    chart.resize(600, 300)
    palette = chart.palette()
    palette.setColor(QPalette.ColorRole.Base, QColor("#ffffff"))
    palette.setColor(QPalette.ColorRole.Text, QColor("#000000"))
    palette.setColor(QPalette.ColorRole.Highlight, QColor("#c00000"))
    chart.setPalette(palette)
    yield chart
    chart.deleteLater()


def is_red(color):
    return color.red() > 1.5 * max(color.green(), color.blue(), 1)


@pytest.mark.parametrize(
    ("low", "high", "ticks", "texts"),
    [
        (0, 100, [0, 50, 100], ["0", "50", "100"]),
        (4.2, 9.7, [4, 6, 8, 10], ["4", "6", "8", "10"]),
        (0.131, 0.138, [0.130, 0.132, 0.134, 0.136, 0.138], ["0.130", "0.132", "0.134", "0.136", "0.138"]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1], ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
        (5, 5, [4.5, 5, 5.5], ["4.5", "5.0", "5.5"]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, ticks, texts):
    found = nice_ticks(low, high, 4)
    assert found == pytest.approx(ticks)
    assert found[0] <= low and found[-1] >= high
    assert tick_texts(found) == texts


def test_the_smooth_line_is_a_mean_to_both_sides_and_ends_at_the_ends():
    assert smooth([3.0]) == [3.0]
    assert smooth([1.0, 4.0, 1.0, 4.0]) == [1.0, 2.0, 3.0, 4.0]
    values = [float(number) for number in range(100)]  # a straight line stays where it is: nothing lags
    assert smooth(values) == pytest.approx(values)
    peak = [0.0] * 50 + [11.0] + [0.0] * 50
    assert smooth(peak)[44:57] == pytest.approx([0.0] + [1.0] * 11 + [0.0])


def test_a_value_is_drawn_where_its_step_and_loss_lie(chart):
    chart.clear(100)
    chart.add(0, 10.0)
    chart.add(50, 0.0)
    assert chart.ranges() == (0, 100, 0, 10)
    plot = chart.plot_rect()
    metrics = QFontMetricsF(chart.font())
    assert plot.left() == pytest.approx(metrics.height() + metrics.horizontalAdvance("10") + 12)
    assert plot.bottom() == pytest.approx(300 - 2 * metrics.height() - 12)
    assert chart.position(0, 10.0) == plot.topLeft()
    assert chart.position(50, 0.0) == QPointF(plot.center().x(), plot.bottom())
    assert chart.position(100, 5.0) == QPointF(plot.right(), plot.center().y())
    picture = chart.grab().toImage()
    middle = chart.position(25, 5.0).toPoint()
    assert is_red(picture.pixelColor(middle))
    assert picture.pixelColor(middle.x(), middle.y() - 30) == QColor("#ffffff")


def test_numbers_and_titles_have_their_place(chart):
    chart.clear(1234)
    for step in (1, 1234):
        chart.add(step, 1000.0 + step)
    plot = chart.plot_rect()
    picture = chart.grab().toImage()

    def ink(left, top, right, bottom):
        return sum(
            picture.pixelColor(x, y) != QColor("#ffffff")
            for x in range(round(left), round(right))
            for y in range(round(top), round(bottom))
        )

    height = QFontMetricsF(chart.font()).height()
    assert ink(0, plot.top(), height, plot.bottom()) > 20  # the title "Loss", upwards
    assert ink(height + 4, plot.top() - 4, plot.left() - 4, plot.bottom()) > 50  # numbers beside the axis
    assert ink(plot.left(), plot.bottom() + 6, plot.right(), plot.bottom() + 6 + height) > 50  # below it
    assert ink(plot.left(), plot.bottom() + 7 + height, plot.right(), 300) > 50  # "Steps done"
    # Nothing is cut off at the edges.
    assert ink(0, 0, 600, 1) == ink(0, 299, 600, 300) == ink(599, 0, 600, 300) == ink(0, 0, 1, 300) == 0


def test_without_values_it_says_so(chart):
    assert chart.plot_rect().isEmpty()
    chart.empty_text = ""
    blank = chart.grab().toImage()
    chart.empty_text = "The chart begins with the first steps."
    assert chart.grab().toImage() != blank
    chart.add(1, 2.0)
    assert chart.points == [(1, 2.0)]
    chart.clear()
    assert chart.points == []


def test_what_is_no_number_is_left_out_and_a_repeated_stretch_replaces_the_old_one(chart):
    for step, loss in ((1, 5.0), (2, float("nan")), (3, float("inf")), (4, 4.0), (5, 3.0), (4, 3.5)):
        chart.add(step, loss)
    assert chart.points == [(1, 5.0), (4, 3.5)]


def test_a_long_run_is_drawn_to_its_end_in_fewer_points(chart):
    for step in range(1, 6002):
        chart.add(step, 5.0 if step < 6001 else 4.0)
    path = chart._path([loss for _, loss in chart.points])
    assert path.elementCount() == 1501
    last = path.elementAt(1500)
    assert QPointF(last.x, last.y) == chart.position(6001, 4.0)


def test_the_line_stands_out_in_every_theme(chart):
    palette = chart.palette()
    assert line_color(palette) == QColor("#c00000")
    palette.setColor(QPalette.ColorRole.Base, QColor("#202020"))
    palette.setColor(QPalette.ColorRole.Text, QColor("#eeeeee"))
    palette.setColor(QPalette.ColorRole.Highlight, QColor("#303a45"))
    assert line_color(palette) == QColor("#eeeeee")
    assert contrast(QColor("#000000"), QColor("#ffffff")) == pytest.approx(21)
    assert contrast(QColor("#777777"), QColor("#ffffff")) == pytest.approx(4.48, abs=0.01)


# Plan and pace ------------------------------------------------------------------------------------------------------


def test_a_length_tells_its_time_once_the_pace_is_known():
    assert plan.length_text("Short", 100, None) == "Short: 100 steps"
    assert plan.length_text("Short", 100, 2.4) == "Short: 100 steps, about 4 min"
    assert plan.length_text("Short", 100, 2.4, "minutes") == "Short: 100 steps, about 4 min"
    assert plan.length_text("Short", 100, None, "minutes") == "Short: 100 steps, minutes on a laptop"
    assert [pace_text(value) for value in (0.324, 2.34, 45.2, 150)] == ["0.32 s", "2.3 s", "45 s", "2 min"]


def test_the_pace_leaves_interruptions_out():
    pace = Pace()
    pace.take(1, 10.0)
    assert pace.step_s is None
    pace.take(5, 12.0)
    assert pace.step_s == 0.5
    pace.interrupt()
    pace.take(6, 1000.0)
    pace.take(8, 1001.0)
    assert pace.step_s == 0.5


def test_paces_are_kept_by_model_the_newest_of_them():
    assert remembered_pace("") is None
    for number in range(30):
        remember_pace(f"m{number}", number + 1.0)
    assert remembered_pace("m29") == 30.0 and remembered_pace("m10") == 11.0 and remembered_pace("m9") is None
    QgsSettings().setValue("skysense/adapt_pace", "nonsense")
    assert remembered_pace("m29") is None


def test_names_become_folders_that_are_free(tmp_path):
    assert plan.folder_name('a/b: "c"?. ') == "a_b_ _c"
    assert plan.folder_name(" .. ") == ""
    assert plan.free_name(tmp_path, "x adapted") == "x adapted"
    (tmp_path / "x adapted").mkdir()
    assert plan.free_name(tmp_path, "x adapted") == "x adapted"  # a failed start left it, empty
    for name in ("x adapted", "x adapted 2"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    assert plan.free_name(tmp_path, "x adapted") == "x adapted 3"


def test_the_recipe_names_what_is_there(tmp_path):
    recipe = plan.adaptation({"name": "x"}, ["/a"], "/m.safetensors", 400, tmp_path / "x")
    assert recipe == {
        "skysense": 1,
        "task": "pretrain",
        "data": [{"name": "x"}, "/a"],
        "model": "/m.safetensors",
        "output": str(tmp_path / "x"),
        "options": {"steps": 400, "settings": {"save_every": 40, "lr": 1e-4}},
    }
    recipe = plan.adaptation(None, ["/a"], "/m.safetensors", 5, tmp_path)
    assert recipe["data"] == ["/a"] and recipe["options"]["settings"]["save_every"] == 1
