"""What the environment says of proxies and certificates, where it cannot be used."""

import pytest
from hub_server import FILE, REPOSITORY
from huggingface_hub import close_session
from skysense.hub.download import download
from skysense.hub.errors import Unreachable
from skysense.hub.listing import list_weights
from skysense.hub.source import make_source
from skysense.jobs.control import JobControl


@pytest.fixture(autouse=True)
def fresh_session():
    """The library keeps its client, and so the environment that it was made in."""
    close_session()
    yield
    close_session()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "foo://me:secret@bar"),
        ("HTTPS_PROXY", "http://me:secret@bar:port"),
        ("ALL_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_one_sentence(hub, tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    source = make_source(REPOSITORY, FILE, None, hub.endpoint)
    for ask in (
        lambda: list_weights(source, JobControl(print)),
        lambda: download(source, tmp_path / "w.safetensors", JobControl(print), accepted=True),
    ):
        with pytest.raises(Unreachable, match="proxy or the certificates") as raised:
            ask()
        assert "HTTPS_PROXY" in raised.value.sentence and "secret" not in raised.value.sentence
        assert "\n" not in raised.value.sentence
    assert not list(tmp_path.iterdir()) and not hub.requests
