import random

import pytest
from hub_server import FILE, REPOSITORY, Hub
from skysense.hub.download import download
from skysense.hub.source import make_source
from skysense.jobs.control import JobControl

CONTENT = random.Random(0).randbytes(3_000_000)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No token, mirror or proxy of the machine's own."""
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def content() -> bytes:
    return CONTENT


@pytest.fixture
def hub(content):
    with Hub({FILE: content, "s2/model.pth": b"pickle"}) as hub:
        yield hub


@pytest.fixture
def fetch(hub, tmp_path):
    """fetch(**changes): download FILE to tmp_path/w.safetensors; `fetch.events` are what was told."""

    def fetch(**changes):
        source = make_source(
            changes.pop("repository", REPOSITORY),
            changes.pop("file", FILE),
            changes.pop("revision", None),
            changes.pop("endpoint", hub.endpoint),
        )
        control = changes.pop("control", None) or JobControl(fetch.events.append)
        return download(source, tmp_path / "w.safetensors", control, **{"accepted": True, **changes})

    fetch.events = []
    return fetch
