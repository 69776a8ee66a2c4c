"""Which dates of a series the panel uses: one choice for training, mapping and looking, kept in the project."""

import json
from pathlib import Path

from qgis.core import QgsProject
from running import map_in_panel
from small_scene import DATES, make_images, make_labels, make_scene

from skysense_qgis.dock.dates import DatesChoice
from skysense_qgis.dock.project import SCOPE


def test_all_dates_unless_something_else_is_chosen(qgis_app):
    choice = DatesChoice()
    said = []
    choice.changed.connect(lambda: said.append(choice.rule))
    assert (choice.rule, choice.options, choice.count.isVisibleTo(choice)) == ("all", {}, False)
    choice.kind.setCurrentIndex(choice.kind.findData("clearest"))
    choice.count.setValue(4)
    assert said == ["clearest:6", "clearest:4"]
    assert choice.options == {"dates": "clearest:4"} and choice.count.isVisibleTo(choice)
    assert choice.count.text() == "4 of each Sentinel"
    for rule in ("even:12", "all"):
        choice.choose(rule)
        assert choice.rule == rule


def test_it_is_offered_where_there_is_a_series(dock, tmp_path, wait):
    assert not dock.run.dates.isVisible()
    images = make_images(tmp_path)
    dock.add_paths(images[:1])
    wait(lambda: dock.ready)
    assert not dock.run.dates.isVisible()
    dock.add_paths(images[1:])
    wait(lambda: dock.ready)
    assert dock.run.dates.isVisible() and dock.run.dates_title.isVisible()


def test_training_mapping_and_looking_use_the_same_dates(dock, tmp_path, wait):
    dock.add_paths([str(make_scene(tmp_path))])
    labels = make_labels()
    QgsProject.instance().addMapLayer(labels)
    dock.labels.choose(labels, "class")
    dock.run.folder.setFilePath(str(tmp_path / "out"))
    wait(lambda: dock.ready)
    dock.run.dates.choose("even:2")
    notes, said = [], []
    dock.jobs.noted.connect(notes.append)
    dock.trained.connect(said.append)
    dock.failed.connect(said.append)
    dock.train()
    wait(lambda: said, 60)
    told = f"2 of {len(DATES)} dates are used ({DATES[0]}, {DATES[-1]})"
    assert any(told in note for note in notes), notes
    recipe = json.loads(Path(f"{said[0]['model']}.recipe.json").read_text())
    assert recipe["options"]["dates"] == "even:2"
    recipe = json.loads(Path(f"{map_in_panel(dock, wait)['map']}.recipe.json").read_text())
    assert recipe["options"]["dates"] == "even:2"
    assert dock._drawn().dates == {"dates": "even:2"}


def test_the_project_keeps_the_choice(dock, tmp_path, wait):
    dock.add_paths(make_images(tmp_path))
    wait(lambda: dock.ready)
    dock.run.dates.choose("clearest:2")
    project = QgsProject.instance()
    assert project.isDirty() and project.write(str(tmp_path / "p.qgs"))
    project.clear()
    assert dock.run.dates.rule == "all" and not project.isDirty()
    assert project.read(str(tmp_path / "p.qgs"))
    assert dock.run.dates.rule == "clearest:2"
    # A project from before there was a choice uses all dates.
    state = json.loads(project.readEntry(SCOPE, "/scene")[0])
    del state["dates"]
    project.writeEntry(SCOPE, "/scene", json.dumps(state))
    dock._restore()
    assert dock.run.dates.rule == "all"
