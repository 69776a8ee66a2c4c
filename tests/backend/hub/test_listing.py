import hashlib

import pytest
from hub_server import FILE, NEW, OLD, REPOSITORY
from skysense.hub.errors import Denied, NotFound, Unreachable
from skysense.hub.listing import list_weights
from skysense.hub.source import make_source
from skysense.jobs.control import JobControl


def listed(hub, revision=None, repository=REPOSITORY, token=None):
    return list_weights(make_source(repository, None, revision, hub.endpoint), JobControl(print), token)


def test_weight_files_with_size_and_hash_and_nothing_else(hub, content):
    result = listed(hub)
    assert result["repository"] == REPOSITORY and result["revision"] == NEW
    assert result["files"] == [
        {"file": FILE, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()},
        {"file": "s2/model.pth", "size": 6, "sha256": hashlib.sha256(b"pickle").hexdigest()},
    ]


def test_of_another_revision(hub, content):
    result = listed(hub, OLD)
    assert result["revision"] == OLD
    assert result["files"][0]["sha256"] == hashlib.sha256(content[::-1]).hexdigest()


def test_what_cannot_be_listed_is_named(hub):
    with pytest.raises(NotFound, match="no revision 'v9'"):
        listed(hub, "v9")
    with pytest.raises(NotFound, match="no/where"):
        listed(hub, repository="no/where")
    with pytest.raises(Unreachable):
        list_weights(make_source(REPOSITORY, None, None, "http://127.0.0.1:9"), JobControl(print))
    hub.plain = True
    with pytest.raises(Unreachable, match="does not answer as a hub does"):
        listed(hub)
    hub.plain, hub.gated = False, True
    with pytest.raises(Denied, match="give a token"):
        listed(hub)
    assert listed(hub, token=hub.token)["revision"] == NEW


def test_a_hub_that_is_down_for_a_moment_is_asked_again(hub, monkeypatch):
    monkeypatch.setattr("skysense.hub.fetch._PAUSE_S", 0.01)
    hub.down = [("hub", 503), ("hub", 500)]
    assert listed(hub)["revision"] == NEW and not hub.down
    hub.down = [("hub", 503)] * 3
    with pytest.raises(Unreachable, match="the error 503"):
        listed(hub)


def test_an_index_of_several_pickles_is_listed_as_one(hub):
    hub.files = {"pytorch_model.bin.index.json": b"{}", "config.json": b"{}"}
    assert [item["file"] for item in listed(hub)["files"]] == ["pytorch_model.bin.index.json"]
