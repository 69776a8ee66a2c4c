import os
import signal

import pytest
from small_scene import make_labels, make_scene

from skysense_qgis.dock.export import export_labels
from skysense_qgis.environment.find import Found
from skysense_qgis.worker.client import WorkerClient
from skysense_qgis.worker.messages import Failure


@pytest.fixture
def recipe(tmp_path):
    export_labels(make_labels(), tmp_path / "labels.gpkg")
    return {
        "skysense": 1,
        "task": "finetune",
        "scene": str(make_scene(tmp_path)),
        "labels": {"path": str(tmp_path / "labels.gpkg"), "field": "class", "layer": "labels"},
        "output": str(tmp_path / "model.safetensors"),
        "options": {},
    }


def run(client, recipe):
    outcome, events = [], []
    job = client.request("run", {"recipe": recipe}, outcome.append, outcome.append, events.append)
    return job, outcome, events


def test_it_starts_with_the_first_request_and_greets(client, wait):
    assert client.pid == 0
    outcome = []
    client.request("hello", {}, outcome.append, outcome.append)
    wait(lambda: outcome)
    assert outcome[0]["protocol"] == 1
    assert outcome[0]["pid"] == client.pid
    assert client.hello["version"] == outcome[0]["version"]


def test_an_error_of_the_worker_reaches_its_own_callback(ask):
    failure = ask("run", {"recipe": {"skysense": 1}})
    assert isinstance(failure, Failure) and failure.kind == "input"
    assert ask("hello", {})["protocol"] == 1


def test_killed_in_the_middle_it_says_so_and_the_next_request_works(client, recipe, wait):
    _job, outcome, events = run(client, recipe)
    wait(lambda: events)
    first = client.pid
    os.kill(first, signal.SIGKILL)
    wait(lambda: outcome)
    assert outcome[0].kind == "crashed"
    assert "memory ran out" in outcome[0].sentence
    assert not client.running
    again = []
    client.request("hello", {}, again.append, again.append)
    wait(lambda: again)
    assert again[0]["pid"] not in (0, first)


def test_a_run_can_be_cancelled(client, recipe, wait):
    job, outcome, events = run(client, recipe)
    wait(lambda: events)
    client.cancel(job)
    wait(lambda: outcome, 60)
    assert outcome[0].cancelled
    assert not os.path.exists(recipe["output"])


def test_without_an_environment_there_is_a_sentence(wait):
    client = WorkerClient(find=lambda: Found("", (), "The SkySense environment was not found."))
    outcome = []
    client.request("hello", {}, outcome.append, outcome.append)
    assert not outcome  # never inside the request
    wait(lambda: outcome)
    assert outcome[0] == Failure("environment", "The SkySense environment was not found.")


def test_a_python_without_the_package_is_named(wait):
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        pytest.skip("no system Python")
    client = WorkerClient(find=lambda: Found(python, ("-I", "-u", "-m", "skysense", "worker"), ""))
    outcome = []
    client.request("hello", {}, outcome.append, outcome.append)
    wait(lambda: outcome)
    assert f"The Python {python} has no package skysense" in outcome[0].sentence


def test_a_program_that_cannot_start_is_named(tmp_path, wait):
    program = tmp_path / "python"
    program.write_text("not a program")
    program.chmod(0o755)
    client = WorkerClient(find=lambda: Found(str(program), (), ""))
    outcome = []
    client.request("hello", {}, outcome.append, outcome.append)
    wait(lambda: outcome)
    assert outcome[0].kind in ("environment", "crashed")
    client.shutdown()


def test_another_protocol_is_refused(wait):
    script = 'import sys; input(); print(\'{"id":2,"result":{"protocol":99}}\', flush=True); input()'
    client = WorkerClient(find=lambda: Found("/usr/bin/env", ("python3", "-c", script), ""))
    outcome = []
    client.request("describe", {"paths": []}, outcome.append, outcome.append)
    wait(lambda: outcome)
    assert "protocol 1 and 99" in outcome[0].sentence
    assert client.pid == 0


def test_shutdown_ends_the_process(client, ask):
    pid = ask("hello", {})["pid"]
    client.shutdown()
    with pytest.raises(OSError):
        os.kill(pid, 0)


def test_other_options_end_the_worker_and_whoever_waits_is_told(client, ask, recipe, wait):
    pid = ask("hello", {})["pid"]
    _job, outcome, events = run(client, recipe)
    wait(lambda: events)
    client.restart()
    assert len(outcome) == 1 and outcome[0].cancelled
    again = ask("hello", {})
    assert again["pid"] not in (0, pid)


def test_a_callback_never_comes_before_the_request_has_returned(tmp_path, wait):
    program = tmp_path / "python"
    program.write_text("no program")  # it may be called, and is none
    program.chmod(0o755)
    client = WorkerClient(find=lambda: Found(str(program), (), ""))
    outcome = []
    client.request("hello", {}, outcome.append, outcome.append)
    assert not outcome
    wait(lambda: outcome)
    assert len(outcome) == 1
