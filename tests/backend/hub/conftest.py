import random

import pytest
from hub_server import FILE, Hub

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
