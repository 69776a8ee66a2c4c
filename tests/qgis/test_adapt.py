"""“Adapt to my imagery”: the chart, the plan, the window, and runs in the real worker."""

import json
import os
import signal
from pathlib import Path

import pytest
from iface import Iface
from qgis.core import QgsSettings
from qgis.PyQt.QtCore import QPointF
from qgis.PyQt.QtGui import QColor, QFontMetricsF, QPalette
from qgis.PyQt.QtWidgets import QLabel, QPushButton
from small_scene import make_images

from skysense_qgis.adapt import plan
from skysense_qgis.adapt.chart import LossChart, contrast, line_color, nice_ticks, smooth, tick_texts
from skysense_qgis.adapt.pace import Pace, pace_text, remember_pace, remembered_pace
from skysense_qgis.dock.dock import SkySenseDock
from skysense_qgis.models.picker import ModelPicker, model_title
from skysense_qgis.paths import built_in_model
from skysense_qgis.worker.messages import Failure

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


# The window and the panel -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's model folder."""
    monkeypatch.setenv("SKYSENSE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def dock(folder, client):
    dock = SkySenseDock(Iface(), client)
    dock.resize(580, 900)
    dock.show()
    dock.said = []
    dock.adapted.connect(dock.said.append)
    dock.failed.connect(dock.said.append)
    yield dock
    dock.close_down()
    dock.deleteLater()


@pytest.fixture
def dialog(dock, wait):
    dock.run.adapt_button.click()
    wait(lambda: dock.adaptation.form.place.text() != "–")
    return dock.adaptation


def messages(dock):
    return [label.text() for label in dock.messages.findChildren(QLabel)]


def test_the_window_says_what_comes_first(dock, dialog, folder, tmp_path, wait):
    assert dialog.isVisible() and not dialog.isModal()
    assert not dialog.start_button.isEnabled()
    assert dialog.progress.status.text() == "Add images in the panel, or a folder of images here."
    assert dialog.form.images.text() == "none in the panel"
    assert [dialog.form.length.itemText(row) for row in range(3)] == [
        "Short: 100 steps, minutes on a laptop",
        "Medium: 400 steps, about an hour on a laptop",
        "Long: 2000 steps, hours on a laptop",
    ]
    assert dialog.progress.speed.text().startswith("High-resolution images take longest. How long")
    dock.add_paths(make_images(tmp_path))
    assert dialog.progress.status.text() == "Looking at the images…"
    wait(lambda: dialog.start_button.isEnabled())  # no labels are needed
    assert dialog.form.images.text() == "3 images in the panel" and dialog.progress.status.text() == ""
    for text, place, problem in (
        (" ", "–", "Give the new model a name."),
        ("../north", str(folder / "north" / "model.safetensors"), ""),
    ):
        dialog.form.name.clear()
        dialog.form.name.insert(text)
        dialog.form.name.textEdited.emit(text)
        assert (dialog.form.place.text(), dialog.form.missing) == (place, problem)
    (folder / "north" / "checkpoints").mkdir(parents=True)
    assert dialog.form.missing == "There is a model of that name. Choose another name."
    dock.imagery.model.setData(dock.imagery.model.index(0, 2), "")
    wait(lambda: dialog.form.missing.startswith("Mend or remove the red rows"))


def test_the_built_in_model_is_gone_on_from(dock, dialog):
    dock._update_buttons()
    assert dialog.form.base.text() == "Built-in model"
    file = Path(dialog.form.recipe(None)["model"])
    assert file == Path(built_in_model()) and file.is_file()
    assert dialog.form.length.itemText(0) == "Short: 100 steps, minutes on a laptop"
    # How large a file of the user's is, and how long it takes, nobody knows yet.
    dock.run.base.set_path(str(file.with_name("huge.safetensors")))
    assert dialog.form.base.text() == "huge.safetensors"
    assert dialog.form.length.itemText(0) == "Short: 100 steps"


def test_folders_alone_are_enough_and_can_be_taken_back(dock, dialog, tmp_path):
    for name in ("a", "b", "a"):
        dialog.form.folders.add(str(tmp_path / name))
    assert dialog.form.folders.paths == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert dialog.start_button.isEnabled() and not dialog.form.folders.remove_button.isEnabled()
    dialog.form.folders.list.item(0).setSelected(True)
    dialog.form.folders.remove_button.click()
    assert dialog.form.folders.paths == [str(tmp_path / "b")]
    assert dialog.form.recipe(None)["data"] == [str(tmp_path / "b")]


def test_nothing_is_cut_off(dialog, wait):
    notes = dialog.progress.notes
    assert not notes.isVisible()
    dialog.progress.note("A long sentence that says what is wrong and what can be done about it. " * 3)
    dialog.progress.note("Another one.")
    wait(lambda: notes.height() >= notes.heightForWidth(notes.width()))
    assert notes.text().count("•") == 2
    for label in dialog.findChildren(QLabel):
        if label.isVisible() and label.wordWrap():
            assert label.height() >= label.heightForWidth(label.width()), label.objectName()
    for button in dialog.findChildren(QPushButton):
        assert button.width() >= button.minimumSizeHint().width()
    assert dialog.progress.chart.height() >= dialog.progress.chart.minimumSizeHint().height()


def tell(dock, **event):
    """What the panel hears from the worker."""
    dock.jobs._event(event)


def test_a_run_is_shown_step_by_step(dock, dialog, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("skysense_qgis.adapt.progress.time.monotonic", lambda: clock[0])
    dialog.form.folders.add(str(tmp_path))
    recipe = dialog.form.recipe(None)
    tell(dock, event="note", text="of another task")
    dock.jobs.started.emit(recipe)
    assert (
        not dialog.form.isEnabled() and dialog.pause_button.isEnabled() and dialog.cancel_button.isEnabled()
    )
    tell(dock, event="metrics", step=10, loss=8.0, samples_per_s=7.0)
    clock[0] = 20.0
    tell(dock, event="metrics", step=20, loss=6.0, samples_per_s=7.0)
    tell(dock, event="progress", fraction=0.2, text="Step 20 of 100", eta_s=160.0)
    tell(dock, event="note", text="Little varies.")
    assert dialog.progress.chart.points == [(10, 8.0), (20, 6.0)] and dialog.progress.chart.ranges()[1] == 100
    assert dialog.progress.speed.text() == "2.0 s a step, 7.0 pieces of image a second"
    assert dialog.progress.status.text() == "Step 20 of 100: 20 %, 3 min left"
    assert dialog.progress.bar.value() == 200
    assert dialog.progress.notes.text() == "• Little varies."
    dialog.pause_button.click()
    assert not dialog.pause_button.isEnabled() and dialog.progress.status.text() == "Pausing after this step…"
    tell(dock, event="paused")
    assert dialog.pause_button.text() == "Continue" and dialog.pause_button.isEnabled()
    assert dialog.progress.status.text().startswith("Paused") and dock.run.status.text().startswith("Paused")
    dialog.pause_button.click()
    tell(dock, event="resumed")
    assert dialog.pause_button.text() == "Pause"
    dialog.cancel_button.click()
    assert not dialog.cancel_button.isEnabled() and not dialog.pause_button.isEnabled()
    assert dialog.progress.status.text() == dock.run.status.text() == "Stopping…"
    dock.jobs.recipe = recipe
    dock.jobs.failed.emit(Failure("cancelled", "Cancelled."))
    assert dialog.progress.status.text() == "Cancelled." and dialog.form.isEnabled()
    assert dock.messages.findChild(QPushButton, "resumeButton") is None  # it had saved nothing yet
    # Now the time is known before the start.
    assert dialog.form.length.itemText(0) == "Short: 100 steps, about 3 min"


def test_a_stopped_run_that_has_saved_something_can_go_on(dock, dialog, tmp_path):
    dialog.form.folders.add(str(tmp_path))
    dock.jobs.recipe = dialog.form.recipe(None)
    dock.jobs.started.emit(dock.jobs.recipe)
    tell(dock, event="metrics", step=30, loss=8.0, samples_per_s=7.0)
    Path(dock.jobs.recipe["output"], "checkpoints", "step-00000030").mkdir(parents=True)
    dock.jobs.failed.emit(Failure("cancelled", "Cancelled."))
    assert dialog.progress.status.text() == "Cancelled. Press Resume in the panel to go on."
    assert "Cancelled. What the model has learned so far is kept." in messages(dock)
    dock.findChild(QPushButton, "resumeButton").click()
    assert dock.jobs.recipe["options"]["resume"] is True
    assert dialog.progress.chart.points == [(30, 8.0)]  # the chart goes on, too


def test_the_adapted_model_becomes_the_base_model(dock, dialog, folder, tmp_path):
    dialog.form.folders.add(str(tmp_path))
    recipe = dialog.form.recipe(None)
    dock.jobs.started.emit(recipe)
    dialog.close_button.click()  # the run belongs to the panel
    assert not dialog.isVisible()
    model = Path(recipe["output"], "model.safetensors")
    model.parent.mkdir(parents=True)
    model.write_text("")
    dock.jobs.finished.emit("pretrain", {"model": str(model), "seconds": 240.0})
    assert [item["model"] for item in dock.said] == [str(model)]
    assert dock.run.base.path == str(model) and dock.run.base.combo.currentText() == "scene adapted"
    told = "Adapted in 4 min: “scene adapted” is now the base model. Next: press Train."
    assert dock.run.status.text() == told and told in messages(dock)
    assert dialog.progress.status.text().startswith("Done in 4 min")
    # The next one begins with it, under another name.
    assert dialog.form.base.text() == "scene adapted" and dialog.form.name.text() == "scene adapted 2"
    assert dialog.start_button.isEnabled() and dialog.form.recipe(None)["model"] == str(model)


def test_an_adapted_model_is_called_by_its_name_and_stays_among_the_entries(client, tmp_path):
    paths = []
    for name in ("north adapted", "south adapted"):
        paths.append(tmp_path / name / "model.safetensors")
        paths[-1].parent.mkdir()
        paths[-1].write_text("")
    assert (
        model_title(str(paths[0])) == "north adapted" and model_title("/a/hr.safetensors") == "hr.safetensors"
    )
    picker = ModelPicker(client)
    first = ModelPicker(client)
    for path in paths:
        first.add_adapted(str(path))
    other = ModelPicker(client)  # as in another session
    for picker in (first, other):
        picker.set_path("")
        entries = [picker.combo.itemText(row) for row in range(picker.combo.count())]
        assert entries[:3] == ["Built-in model", "south adapted", "north adapted"]
        picker._activated(2)
        assert picker.path == str(paths[0]) and picker.title == picker.combo.currentText() == "north adapted"
    os.unlink(paths[1])
    first.set_path("")
    assert first.combo.findText("south adapted") == -1
    for picker in (first, other):
        picker.deleteLater()


# Runs in the real worker --------------------------------------------------------------------------------------------

#: So little that a step takes a fraction of a second.
SMALL = {"batch": 2, "head_outputs": 64, "s2_dates": 2, "pixels_per_view": 8, "workers": 1, "save_every": 2}


@pytest.fixture
def small(dock, dialog, tmp_path, monkeypatch, wait):
    """A window that is ready for a short run of small steps on a small scene."""
    whole = dialog.form.recipe

    def recipe(scene):
        made = whole(scene)
        made["options"]["settings"] |= SMALL
        return made

    monkeypatch.setattr(dialog.form, "recipe", recipe)
    dialog.form.length.setItemData(0, 3)
    dock.add_paths(make_images(tmp_path))
    wait(lambda: dialog.start_button.isEnabled())
    return dialog


def test_a_short_run_makes_the_new_base_model_and_the_next_goes_on_from_it(dock, small, folder, wait):
    small.start_button.click()
    assert dock.jobs.busy and not small.start_button.isEnabled() and not small.form.length.isEnabled()
    assert dock.run.train_button.toolTip() == "A run is in progress."
    assert dock.run.adapt_button.isEnabled()
    small.close_button.click()  # the run belongs to the panel
    assert not small.isVisible()
    wait(lambda: dock.said, 60)
    assert isinstance(dock.said[0], dict), dock.said
    model = Path(dock.said[0]["model"])
    assert model == folder / "scene adapted" / "model.safetensors" and model.is_file()
    assert dock.run.base.path == str(model) and dock.run.base.combo.currentText() == "scene adapted"
    assert any("“scene adapted” is now the base model" in text for text in messages(dock))
    dock.run.adapt_button.click()
    assert small.isVisible() and small.progress.status.text().startswith("Done in")
    assert small.progress.chart.points[-1][0] == 3 and small.progress.chart.ranges()[1] == 3
    assert small.progress.notes.text().startswith("• Found 1 scene with 3 images")
    # The next one begins with it, under another name.
    assert small.form.base.text() == "scene adapted" and small.form.name.text() == "scene adapted 2"
    small.start_button.click()
    wait(lambda: len(dock.said) == 2, 60)
    assert isinstance(dock.said[1], dict), dock.said
    second = folder / "scene adapted 2" / "model.safetensors"
    assert dock.run.base.path == str(second) and second.is_file()
    assert json.loads(second.with_name("recipe.json").read_text())["model"] == str(model)


def test_pause_continue_cancel_and_go_on(dock, small, folder, wait):
    small.form.length.setItemData(0, 1000)
    small.start_button.click()
    wait(lambda: len(small.progress.chart.points) >= 2 or dock.said, 60)
    assert not dock.said
    assert small.progress.speed.text().endswith("pieces of image a second")
    small.pause_button.click()
    assert not small.pause_button.isEnabled()
    wait(lambda: small.pause_button.text() == "Continue", 20)
    assert small.progress.status.text().startswith("Paused") and dock.run.status.text().startswith("Paused")
    drawn = len(small.progress.chart.points)
    small.pause_button.click()
    wait(lambda: small.pause_button.text() == "Pause" and len(small.progress.chart.points) > drawn, 20)
    small.cancel_button.click()
    assert not small.cancel_button.isEnabled() and not dock.run.cancel_button.isEnabled()
    wait(lambda: dock.said, 20)
    assert small.progress.status.text() == "Cancelled. Press Resume in the panel to go on."
    assert small.start_button.isEnabled() and "steps, about" in small.form.length.itemText(0)
    reached = small.progress.chart.points[-1][0]
    dock.findChild(QPushButton, "resumeButton").click()
    wait(lambda: small.progress.chart.points[-1][0] > reached or len(dock.said) > 1, 20)
    assert len(dock.said) == 1 and small.progress.chart.points[0][0] == 1  # the chart goes on, too
    small.cancel_button.click()
    wait(lambda: len(dock.said) == 2, 20)


def test_a_killed_worker_is_told_in_both_places(dock, small, client, wait):
    small.form.length.setItemData(0, 1000)
    small.start_button.click()
    # A step is told before it is saved: only the third says that the second, the first to be kept, is on the disk.
    wait(lambda: len(small.progress.chart.points) >= 3 or dock.said, 60)
    os.kill(client.pid, signal.SIGKILL)
    wait(lambda: dock.said)
    assert "memory ran out" in dock.said[0]
    assert small.progress.status.text() == f"{dock.said[0]} Press Resume in the panel to go on."
    assert dock.run.status.text() == dock.said[0]
    assert small.start_button.isEnabled() and dock.findChild(QPushButton, "resumeButton") is not None


def test_a_folder_without_images_is_told(dock, dialog, tmp_path, wait):
    (tmp_path / "empty").mkdir()
    dialog.form.folders.add(str(tmp_path / "empty"))
    dialog.start_button.click()
    wait(lambda: dock.said, 60)
    assert str(tmp_path / "empty") in dock.said[0] and dialog.progress.status.text() == dock.said[0]
    assert dialog.form.name.text() == "scene adapted"  # the failed start took no name
    assert dialog.start_button.isEnabled()
