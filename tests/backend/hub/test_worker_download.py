import json
import subprocess
import sys

import pytest
from hub_server import FILE, NEW, REPOSITORY


@pytest.fixture
def worker():
    """A real worker process: ask(id, method, params) and read() a message."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-u", "-m", "skysense", "worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    class Worker:
        def ask(self, request, method, params):
            line = json.dumps({"id": request, "method": method, "params": params})
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()

        def read(self):
            return json.loads(process.stdout.readline())

        def end(self):
            """What it logged."""
            process.stdin.close()
            return process.stderr.read().decode()

    yield Worker()
    process.kill()
    process.wait()


@pytest.fixture
def params(hub, tmp_path):
    return {
        "repository": REPOSITORY,
        "file": FILE,
        "endpoint": hub.endpoint,
        "out": str(tmp_path / "w.safetensors"),
        "accepted": True,
    }


def test_it_lists_and_downloads_with_the_token_of_the_request(worker, params, hub, tmp_path, content):
    hub.gated = True
    worker.ask(1, "list_weights", {**params, "token": hub.token})
    assert [item["file"] for item in worker.read()["result"]["files"]] == [FILE, "s2/model.pth"]
    worker.ask(2, "download", params)
    error = worker.read()["error"]
    assert error["kind"] == "hub" and "give a token" in error["sentence"]
    worker.ask(3, "download", {**params, "token": hub.token})
    messages = [worker.read()]
    while "result" not in messages[-1]:
        messages.append(worker.read())
    assert messages[-1]["result"]["revision"] == NEW
    assert {message["event"] for message in messages[:-1]} == {"progress"}
    assert (tmp_path / "w.safetensors").read_bytes() == content
    assert hub.token not in json.dumps(messages) + worker.end()


def test_a_download_can_be_cancelled_and_other_requests_are_answered_meanwhile(worker, params, hub, tmp_path):
    hub.pause_s = 0.05
    worker.ask(1, "download", params)
    assert worker.read()["event"] == "progress"
    worker.ask(2, "hello", {})
    worker.ask(3, "cancel", {"job": 1})
    replies = {}
    while len(replies) < 3:
        message = worker.read()
        if "event" not in message:
            replies[message["id"]] = message
    assert replies[2]["result"]["protocol"] == 1 and replies[3]["result"] == {"cancelled": True}
    assert replies[1]["error"]["kind"] == "cancelled"
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]


def test_without_consent_nothing_is_downloaded(worker, params, hub):
    worker.ask(1, "download", {**params, "accepted": False})
    assert "non-commercial research" in worker.read()["error"]["sentence"]
    assert hub.requests == []
