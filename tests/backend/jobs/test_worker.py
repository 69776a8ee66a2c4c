import json
import subprocess
import sys

import pytest


class Child:
    """A real worker process."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-u", "-m", "skysense", "worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def send(self, **message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self):
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def worker():
    child = Child()
    yield child
    child.process.kill()
    child.process.wait()


def test_hello_is_answered_without_torch(worker):
    worker.send(id=1, method="hello")
    reply = worker.receive()
    assert (
        reply["id"] == 1 and reply["result"]["protocol"] == 1 and reply["result"]["pid"] == worker.process.pid
    )
    with open(f"/proc/{worker.process.pid}/maps") as maps:
        assert "libtorch" not in maps.read()


def test_the_worker_ends_when_its_input_closes(worker):
    worker.send(id=1, method="hello")
    worker.receive()
    worker.process.stdin.close()
    assert worker.process.wait(timeout=10) == 0


def test_a_bad_request_does_not_end_it(worker):
    worker.process.stdin.write(b"nonsense\n")
    worker.process.stdin.flush()
    assert worker.receive()["error"]["kind"] == "input"
    worker.send(id=2, method="dance")
    assert "dance" in worker.receive()["error"]["sentence"]
    worker.send(id=3, method="hello")
    assert worker.receive()["id"] == 3


def test_describe_answers_for_a_file_that_is_not_there(worker, tmp_path):
    worker.send(id=1, method="describe", params={"paths": [str(tmp_path / "no.tif")]})
    (description,) = worker.receive()["result"]["descriptions"]
    assert description["status"] == "red" and "no.tif" in description["reason"]


def test_a_wrong_recipe_is_an_input_error(worker):
    worker.send(id=1, method="run", params={"recipe": {"skysense": 1, "task": "fly"}})
    error = worker.receive()["error"]
    assert error["kind"] == "input" and "fly" in error["sentence"]


def test_shutdown_cancels_nothing_that_is_not_there(worker):
    worker.send(id=1, method="cancel", params={"job": 99})
    assert worker.receive()["result"] == {"cancelled": False}
    worker.send(id=3, method="pause", params={"job": 99})
    assert worker.receive()["result"] == {"paused": False}
    worker.send(id=4, method="resume", params={"job": 99})
    assert worker.receive()["result"] == {"resumed": False}
    worker.send(id=2, method="shutdown")
    assert worker.receive()["id"] == 2 and worker.process.wait(timeout=10) == 0


def test_the_licence_and_the_known_repositories_are_told_without_torch(worker):
    worker.send(id=1, method="hub")
    told = worker.receive()["result"]
    assert "non-commercial research" in told["licence"] and told["endpoint"].startswith("http")
    assert all(name.count("/") == 1 for name in told["repositories"])
    with open(f"/proc/{worker.process.pid}/maps") as maps:
        assert "libtorch" not in maps.read()
