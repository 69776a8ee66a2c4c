import threading

import pytest
from qgis.core import QgsProcessingFeedback
from small_scene import make_labels, make_scene

from skysense_qgis.dock.export import export_labels
from skysense_qgis.environment.find import Found
from skysense_qgis.worker.blocking import BlockingWorker, WorkerError, run_blocking


def in_thread(work):
    """Run as Processing does: in a thread without an event loop."""
    outcome = []

    def body():
        try:
            outcome.append(work())
        except WorkerError as error:
            outcome.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return outcome[0]


class Feedback(QgsProcessingFeedback):
    def __init__(self, cancel_on=""):
        super().__init__(False)
        self.texts, self.infos, self.cancel_on = [], [], cancel_on

    def setProgressText(self, text):
        self.texts.append(text)
        if self.cancel_on and self.cancel_on in text:
            self.cancel()

    def pushInfo(self, text):
        self.infos.append(text)


def recipe(folder):
    export_labels(make_labels(), folder / "labels.gpkg")
    return {
        "skysense": 1,
        "task": "finetune",
        "scene": str(make_scene(folder)),
        "labels": {"path": str(folder / "labels.gpkg"), "field": "class"},
        "output": str(folder / "model.safetensors"),
        "options": {},
    }


def test_a_run_reports_progress_and_gives_its_result(python, tmp_path):
    feedback, job = Feedback(), recipe(tmp_path)
    result = in_thread(lambda: run_blocking(job, feedback))
    assert [item["name"] for item in result["classes"]] == ["maize", "wheat"]
    assert feedback.progress() == 100.0
    assert feedback.texts and len(feedback.texts) == len(set(feedback.texts))


def test_cancel_is_passed_on(python, tmp_path):
    feedback, job = Feedback(cancel_on="Checking"), recipe(tmp_path)
    error = in_thread(lambda: run_blocking(job, feedback))
    assert isinstance(error, WorkerError) and error.failure.cancelled


def test_a_wrong_recipe_is_a_sentence(python):
    error = in_thread(lambda: run_blocking({"skysense": 1, "task": "sing"}, Feedback()))
    assert isinstance(error, WorkerError) and error.failure.kind == "input"
    assert "sing" in str(error)


def test_several_questions_in_one_worker(python, tmp_path):
    scene = make_scene(tmp_path)

    def ask():
        with BlockingWorker() as worker:
            assert worker.call("hello", {})["protocol"] == 1
            return worker.call("describe", {"paths": [str(scene.parent / "S2_small_20210410.tif")]})

    found = in_thread(ask)["descriptions"][0]
    assert (found["modality"], found["date"]) == ("s2", "2021-04-10")


def test_a_dead_worker_is_a_sentence():
    def die():
        script = 'import os, sys; print(\'{"id":1,"result":{"protocol":1}}\', flush=True); input(); input(); os.kill(os.getpid(), 9)'
        with BlockingWorker(lambda: Found("/usr/bin/env", ("python3", "-c", script), "")) as worker:
            return worker.call("describe", {"paths": []})

    error = in_thread(die)
    assert isinstance(error, WorkerError)
    assert "memory ran out" in str(error)


def test_no_environment_is_a_sentence():
    with pytest.raises(WorkerError, match="nowhere"), BlockingWorker(lambda: Found("", (), "It is nowhere.")):
        pass
