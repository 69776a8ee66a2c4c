"""“Adapt to my imagery”: the window, the panel, and runs in the real worker."""

import json
import os
import signal
from pathlib import Path

import pytest
from iface import Iface
from qgis.PyQt.QtWidgets import QLabel, QPushButton
from small_scene import make_images

from skysense_qgis.dock.dock import SkySenseDock
from skysense_qgis.models.picker import ModelPicker, model_title
from skysense_qgis.paths import built_in_model
from skysense_qgis.worker.messages import Failure

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
