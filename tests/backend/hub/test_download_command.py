import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hub_server import FILE, NEW, REPOSITORY
from skysense.cli import main
from skysense.hub.licence import LICENCE


@pytest.fixture
def command(hub, tmp_path, monkeypatch, capsys):
    """command(*arguments): exit code, stdout, stderr of `skysense download`, in a folder of its own."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        code = main(["download", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return command


def test_the_licence_has_to_be_accepted(command, hub):
    code, out, err = command(REPOSITORY, FILE)
    assert (code, out) == (2, "") and err == f"{LICENCE} Add --accept-licence if you agree.\n"
    assert hub.requests == []


def test_it_downloads_to_here_under_the_files_own_name(command, tmp_path, content):
    code, out, _ = command(REPOSITORY, FILE, "--accept-licence", "--json")
    assert code == 0 and json.loads(out)["revision"] == NEW
    assert (tmp_path / "model.safetensors").read_bytes() == content


def test_it_lists(command):
    code, out, _ = command(REPOSITORY, "--list")
    assert code == 0 and out.splitlines()[0] == f"{REPOSITORY} {NEW}"
    assert out.splitlines()[1].split() == ["3.0", "MB", FILE]


def test_without_a_file_it_says_how_to_find_one(command):
    code, _, err = command(REPOSITORY, "--accept-licence")
    assert code == 2 and "List the files" in err and err.count("\n") == 1


def test_the_token_of_the_environment_is_used_and_not_told(command, hub, monkeypatch, tmp_path):
    hub.gated = True
    assert command(REPOSITORY, FILE, "--accept-licence")[0] == 2
    monkeypatch.setenv("HF_TOKEN", hub.token)
    code, out, err = command(REPOSITORY, FILE, "--accept-licence", "--json")
    assert code == 0 and hub.token not in out + err
    assert hub.token not in (tmp_path / "model.safetensors.source.json").read_text()


def test_interrupted_it_keeps_what_arrived(hub, tmp_path, content):
    hub.pause_s = 0.05
    arguments = [REPOSITORY, FILE, "--endpoint", hub.endpoint, "--accept-licence", "--out", str(tmp_path)]
    child = subprocess.Popen(
        [sys.executable, "-m", "skysense", "download", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background of a shell, their children would ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 20
    while not any(part.stat().st_size for part in tmp_path.glob("*.part")):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=10)
    assert (child.returncode, err) == (3, "Cancelled.\n")
    (part,) = tmp_path.glob("*.part")
    assert part.read_bytes() == content[: part.stat().st_size]
