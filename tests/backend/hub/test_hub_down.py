"""A hub, or a gateway before it, that answers with errors of the server."""

import threading
import time

import pytest
from skysense.errors import Cancelled
from skysense.hub.errors import Denied, Unreachable
from skysense.jobs.control import JobControl


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_hub_that_is_down_for_a_moment_is_asked_again(fetch, hub, tmp_path, monkeypatch, content, status):
    monkeypatch.setattr("skysense.hub.fetch._PAUSE_S", 0.01)
    hub.cut = [1_000_000]
    hub.down = [("hub", status), ("hub", status), ("cdn", status), ("cdn", status)]
    fetch()
    assert (tmp_path / "w.safetensors").read_bytes() == content and not hub.down
    assert [request.start for request in hub.content_requests()] == [0, 0, 0, 1_000_000]


@pytest.mark.parametrize("host", ["hub", "cdn"])
def test_a_hub_that_stays_down_is_given_up_and_says_so(fetch, hub, tmp_path, monkeypatch, host):
    monkeypatch.setattr("skysense.hub.fetch._PAUSE_S", 0.01)
    hub.cut, hub.down = [700_000] if host == "cdn" else [], []

    def break_down(event):
        hub.down = [("cdn", 503)] * 20

    if host == "hub":
        hub.down = [("hub", 503)] * 20
    with pytest.raises(Unreachable, match=r"the hub answers with the error 503\. Try again later"):
        fetch(control=JobControl(break_down if host == "cdn" else print))
    asked = [request for request in hub.requests if request.host == host]
    assert len(asked) == (3 if host == "hub" else 7)  # the first of those for content came through
    parts = list(tmp_path.glob("*.part"))
    assert [part.stat().st_size for part in parts] == ([] if host == "hub" else [700_000])


@pytest.mark.parametrize("host", ["hub", "cdn"])
def test_waiting_for_a_hub_that_is_down_can_be_cancelled(fetch, hub, monkeypatch, host):
    monkeypatch.setattr("skysense.hub.fetch._PAUSE_S", 60.0)
    hub.down = [(host, 503)] * 20
    control = JobControl(print)
    threading.Timer(0.5, control.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        fetch(control=control)
    assert time.monotonic() - began < 20


def test_a_refusal_is_not_asked_for_again(fetch, hub):
    hub.down = [("cdn", 403)]
    with pytest.raises(Denied):
        fetch()
    assert len(hub.content_requests()) == 1
