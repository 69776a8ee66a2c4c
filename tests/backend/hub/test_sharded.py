import json

import pytest
from hub_server import NEW, OLD, REPOSITORY
from skysense.errors import Cancelled
from skysense.hub.errors import NotFound, WrongContent
from skysense.hub.sharded import download_weights
from skysense.hub.source import make_source
from skysense.jobs.control import JobControl

INDEX, PARTS = "big/model.safetensors.index.json", ("model-1.safetensors", "model-2.safetensors")


@pytest.fixture
def sharded(hub, content):
    weight_map = {"a": PARTS[0], "b": PARTS[1], "c": PARTS[0]}
    hub.files[INDEX] = json.dumps({"weight_map": weight_map}).encode()
    hub.files[f"big/{PARTS[0]}"], hub.files[f"big/{PARTS[1]}"] = content[:2_000_000], content[2_000_000:]
    return hub


def get(hub, folder, control, file=INDEX):
    return download_weights(make_source(REPOSITORY, file, None, hub.endpoint), folder, control, accepted=True)


def test_the_parts_come_beside_the_index_and_of_its_commit(sharded, tmp_path):
    sharded.pause_s, sharded.piece = 0.02, 200_000
    events = []
    result = get(sharded, tmp_path, JobControl(events.append))
    assert [part["path"] for part in result["parts"]] == [str(tmp_path / name) for name in PARTS]
    for name in PARTS:
        assert (tmp_path / name).read_bytes() == sharded.files[f"big/{name}"]
    asked = [
        request.path for request in sharded.requests if request.host == "hub" and "index" not in request.path
    ]
    assert all(f"/resolve/{NEW}/" in path for path in asked) and OLD not in "".join(asked)
    told = [event["fraction"] for event in events if event["event"] == "progress"]
    assert told == sorted(told) and told[-1] == 1.0 and len(told) > 4


def test_cancel_reaches_a_part_and_what_is_whole_is_not_fetched_again(sharded, tmp_path):
    sharded.pause_s = 0.02

    def stop(event):
        if event["event"] == "progress" and event["fraction"] > 0.6:
            control.cancel()

    control = JobControl(stop)
    with pytest.raises(Cancelled):
        get(sharded, tmp_path, control)
    assert (tmp_path / PARTS[0]).exists() and not (tmp_path / PARTS[1]).exists()
    before = len(sharded.content_requests())
    get(sharded, tmp_path, JobControl(print))
    again = [request.path for request in sharded.content_requests()[before:]]
    assert not any(PARTS[0] in path for path in again) and (tmp_path / PARTS[1]).exists()


@pytest.mark.parametrize("name", ["../evil.safetensors", "/etc/evil", "a\\b.safetensors", "..", ""])
def test_an_index_that_points_elsewhere_is_refused(sharded, tmp_path, name):
    sharded.files[INDEX] = json.dumps({"weight_map": {"a": name}}).encode()
    with pytest.raises(WrongContent, match="is not an index of weight files"):
        get(sharded, tmp_path, JobControl(print))
    assert len(sharded.content_requests()) == 1


def test_a_part_that_the_repository_lacks_is_named(sharded, tmp_path):
    del sharded.files[f"big/{PARTS[1]}"]
    with pytest.raises(NotFound, match=PARTS[1]):
        get(sharded, tmp_path, JobControl(print))


def test_parts_that_are_pickles(sharded, tmp_path, content):
    index = "old/pytorch_model.bin.index.json"
    sharded.files[index] = json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}).encode()
    sharded.files["old/pytorch_model-1.bin"] = content
    (part,) = get(sharded, tmp_path, JobControl(print), index)["parts"]
    assert part["path"] == str(tmp_path / "pytorch_model-1.bin")
    assert (tmp_path / "pytorch_model-1.bin").read_bytes() == content


def test_a_plain_file_is_just_that(hub, tmp_path):
    assert "parts" not in get(hub, tmp_path, JobControl(print), "hr/model.safetensors")
