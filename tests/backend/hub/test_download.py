import hashlib
import json
import os
import subprocess
import sys
import time

import pytest
from hub_server import FILE, NEW, OLD, REPOSITORY
from skysense.errors import Cancelled, InputError, StorageError
from skysense.hub.download import download
from skysense.hub.errors import Denied, NotFound, Unreachable, WrongContent
from skysense.hub.licence import LICENCE
from skysense.hub.source import make_source
from skysense.jobs.control import JobControl


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_branch_is_pinned_to_its_commit_and_the_bytes_are_equal(fetch, hub, tmp_path, content):
    result = fetch()
    digest = hashlib.sha256(content).hexdigest()
    assert (tmp_path / "w.safetensors").read_bytes() == content
    assert result["revision"] == NEW and result["sha256"] == digest and result["size"] == len(content)
    assert names(tmp_path) == ["w.safetensors", "w.safetensors.source.json"]
    record = json.loads((tmp_path / "w.safetensors.source.json").read_text())
    assert (record["repository"], record["file"], record["revision"]) == (REPOSITORY, FILE, NEW)
    assert record["sha256"] == digest and record["licence"] == LICENCE and record["licence_accepted"]
    assert [request.path.split("/")[4] for request in hub.requests if request.host == "hub"] == ["main", NEW]


def test_a_commit_gives_its_own_content(fetch, tmp_path, content):
    assert fetch(revision=OLD)["revision"] == OLD
    assert (tmp_path / "w.safetensors").read_bytes() == content[::-1]


def test_progress_grows_to_the_whole(fetch, hub):
    hub.pause_s, hub.piece = 0.02, 200_000
    fetch()
    told = [event["fraction"] for event in fetch.events if event["event"] == "progress"]
    assert len(told) > 3 and told == sorted(told) and told[-1] == 1.0
    assert any("of 3.0 MB" in event["text"] for event in fetch.events)


def test_after_cut_connections_only_the_missing_bytes_are_asked_for(fetch, hub, tmp_path, content):
    hub.cut = [1_000_000, 500_000]
    fetch()
    assert [request.start for request in hub.content_requests()] == [0, 1_000_000, 1_500_000]
    assert (tmp_path / "w.safetensors").read_bytes() == content


def test_a_connection_that_brings_nothing_is_given_up_and_the_part_kept(fetch, hub, tmp_path, monkeypatch):
    monkeypatch.setattr("skysense.hub.fetch._PAUSE_S", 0.01)
    hub.cut = [700_000] + [0] * 20
    with pytest.raises(Unreachable, match="what has arrived is kept"):
        fetch()
    (part,) = tmp_path.glob("w.safetensors.*.part")
    assert part.stat().st_size == 700_000
    hub.cut = []
    fetch()
    assert hub.content_requests()[-1].start == 700_000 and names(tmp_path)[0] == "w.safetensors"


def test_cancelled_it_keeps_the_part_and_goes_on_from_it(fetch, hub, tmp_path, content):
    hub.pause_s = 0.01

    def stop(event):
        if event["event"] == "progress" and event["fraction"] > 0.3:
            control.cancel()

    control = JobControl(stop)
    with pytest.raises(Cancelled):
        fetch(control=control)
    (part,) = tmp_path.glob("*.part")
    got = part.stat().st_size
    assert 0 < got < len(content) and part.read_bytes() == content[:got]
    assert names(tmp_path) == [part.name]
    fetch()
    assert hub.content_requests()[-1].start == got
    assert (tmp_path / "w.safetensors").read_bytes() == content
    assert not list(tmp_path.glob("*.part"))


def test_killed_it_goes_on_from_what_was_written(fetch, hub, tmp_path, content):
    hub.pause_s = 0.05
    arguments = ["download", REPOSITORY, FILE, "--endpoint", hub.endpoint, "--accept-licence"]
    child = subprocess.Popen(
        [sys.executable, "-m", "skysense", *arguments, "--out", str(tmp_path / "w.safetensors")]
    )
    deadline = time.monotonic() + 20
    while not any(part.stat().st_size > 300_000 for part in tmp_path.glob("*.part")):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    (part,) = tmp_path.glob("*.part")
    got = part.stat().st_size
    assert not (tmp_path / "w.safetensors").exists()
    hub.pause_s = 0.0
    fetch()
    assert hub.content_requests()[-1].start == got >= 300_000
    assert (tmp_path / "w.safetensors").read_bytes() == content


def test_an_interrupted_download_of_another_content_is_not_mixed_in(fetch, hub, tmp_path, content):
    (tmp_path / ("w.safetensors." + "0" * 12 + ".part")).write_bytes(b"other")
    fetch()
    assert hub.content_requests()[0].start == 0
    assert (tmp_path / "w.safetensors").read_bytes() == content
    assert names(tmp_path) == ["w.safetensors", "w.safetensors.source.json"]


def test_what_is_already_there_is_not_downloaded_again(fetch, hub):
    fetch()
    before = len(hub.content_requests())
    fetch()
    assert len(hub.content_requests()) == before
    assert fetch.events[-1]["text"] == "w.safetensors is already there."


@pytest.mark.parametrize("record", [None, '{"sha256": "' + "0" * 64 + '"}'])
def test_a_file_of_the_users_is_kept(fetch, hub, tmp_path, record):
    own = tmp_path / "w.safetensors"
    own.write_bytes(b"my own weights")
    if record:  # of a download that the user has put another file in the place of
        (tmp_path / "w.safetensors.source.json").write_text(record)
    before = names(tmp_path)
    with pytest.raises(InputError, match=f"{FILE} would take its place") as told:
        fetch()
    assert str(own) in told.value.sentence and not hub.content_requests()
    assert own.read_bytes() == b"my own weights" and names(tmp_path) == before


@pytest.mark.parametrize("etag", ["sha256", "git"])
def test_a_file_of_the_users_that_is_the_same_is_used(fetch, hub, tmp_path, content, etag):
    hub.etag = etag
    (tmp_path / "w.safetensors").write_bytes(content)
    assert fetch()["sha256"] == hashlib.sha256(content).hexdigest() and not hub.content_requests()
    assert names(tmp_path) == ["w.safetensors", "w.safetensors.source.json"]


def test_a_file_that_comes_while_downloading_is_kept(fetch, hub, tmp_path):
    def put(event):
        (tmp_path / "w.safetensors").write_bytes(b"my own weights")

    with pytest.raises(InputError, match="would take its place"):
        fetch(control=JobControl(put))
    assert hub.content_requests() and (tmp_path / "w.safetensors").read_bytes() == b"my own weights"


def test_a_download_makes_way_for_another(fetch, tmp_path, content):
    fetch(revision=OLD)
    assert fetch()["revision"] == NEW and (tmp_path / "w.safetensors").read_bytes() == content


@pytest.mark.parametrize("changed", ["file", "repository"])
def test_a_download_of_another_file_or_repository_is_kept(hub, tmp_path, content, changed):
    """Models of one file name side by side in a repository, downloaded to one folder."""
    hub.files["s2/model.safetensors"] = b"another model"
    record = tmp_path / "model.safetensors.source.json"

    def get(file):
        source = make_source(REPOSITORY, file, None, hub.endpoint)
        return download(source, tmp_path, JobControl(print), accepted=True)

    get(FILE)
    if changed == "repository":
        record.write_text(record.read_text().replace(REPOSITORY, "else/where"))
    before = record.read_bytes()
    other = "s2/model.safetensors" if changed == "file" else FILE
    hub.files[other] = b"another model"
    first = f"{REPOSITORY}/{FILE}" if changed == "file" else f"else/where/{FILE}"
    with pytest.raises(InputError, match=f"holds {first}, and {REPOSITORY}/{other} would take its place"):
        get(other)
    assert (tmp_path / "model.safetensors").read_bytes() == content and record.read_bytes() == before
    assert names(tmp_path) == ["model.safetensors", "model.safetensors.source.json"]


def test_a_tampered_file_leaves_the_previous_one(fetch, hub, tmp_path, content):
    fetch(revision=OLD)
    before = (tmp_path / "w.safetensors.source.json").read_bytes()
    hub.served = b"x" + content[1:]
    with pytest.raises(WrongContent, match="SHA-256"):
        fetch()
    assert (tmp_path / "w.safetensors").read_bytes() == content[::-1]
    assert (tmp_path / "w.safetensors.source.json").read_bytes() == before
    assert names(tmp_path) == ["w.safetensors", "w.safetensors.source.json"]


def test_more_bytes_than_told_are_refused(fetch, hub, tmp_path, content):
    hub.served = content + b"more"
    with pytest.raises(WrongContent, match="bytes arrived instead of"):
        fetch()
    assert names(tmp_path) == []


def test_a_given_hash_is_compared_before_anything_is_fetched(fetch, hub, tmp_path):
    with pytest.raises(WrongContent, match="not " + "0" * 64):
        fetch(sha256="0" * 64)
    assert not hub.content_requests() and names(tmp_path) == []
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        fetch(sha256="abc")


def test_a_small_file_is_checked_against_its_git_oid(fetch, hub, tmp_path, content):
    hub.etag = "git"
    assert fetch()["sha256"] == hashlib.sha256(content).hexdigest()
    hub.served = b"x" + content[1:]
    (tmp_path / "w.safetensors").unlink()
    with pytest.raises(WrongContent, match="git"):
        fetch()
    assert not (tmp_path / "w.safetensors").exists()
    assert not any("only its size" in event.get("text", "") for event in fetch.events)


def test_where_the_hub_tells_no_hash_the_given_one_counts(fetch, hub, tmp_path, content):
    hub.etag = "none"
    with pytest.raises(WrongContent):
        fetch(sha256="0" * 64)
    assert names(tmp_path) == []
    assert fetch(sha256=hashlib.sha256(content).hexdigest().upper())["size"] == len(content)
    assert fetch(revision=OLD)["sha256"] == hashlib.sha256(content[::-1]).hexdigest()
    assert any("only its size is checked" in event.get("text", "") for event in fetch.events)


def test_the_endpoint_may_come_from_the_environment(fetch, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint + "/")
    assert fetch(endpoint=None)["revision"] == NEW


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(fetch, hub, tmp_path):
    hub.gated = True
    fetch(token=hub.token)
    sent = {request.host: request.headers.get("authorization") for request in hub.requests}
    assert sent == {"hub": f"Bearer {hub.token}", "cdn": None}
    assert not any(hub.token in path.read_text(errors="ignore") for path in tmp_path.iterdir())


def test_a_gated_repository_asks_for_a_token(fetch, hub, tmp_path):
    hub.gated = True
    with pytest.raises(Denied, match="give a token"):
        fetch()
    with pytest.raises(Denied, match="this token has no access") as told:
        fetch(token="hf_badtoken")
    assert "hf_badtoken" not in str(told.value) and names(tmp_path) == []


def test_a_private_repository_looks_like_none(fetch, hub):
    hub.private = True
    with pytest.raises(NotFound, match="needs a token"):
        fetch()
    assert fetch(token=hub.token)["revision"] == NEW


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repository": "no/where"}, "no/where: is not on 127.0.0.1"),
        ({"repository": "a/b/c"}, "is not a repository's name"),
        ({"revision": "v9"}, "has no revision 'v9'"),
        ({"revision": "c" * 40}, "has no revision"),
        ({"file": "no.safetensors"}, "has no file 'no.safetensors'"),
    ],
)
def test_what_is_not_there_is_named(fetch, changes, message):
    with pytest.raises(NotFound, match=message):
        fetch(**changes)


def test_no_answer(fetch):
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9: the hub cannot be reached"):
        fetch(endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize(
    "address", ["hub.example", "http://", "http://a b", "http://a:99999", "http://[::1", "ftp://a"]
)
def test_what_is_no_address(fetch, address):
    with pytest.raises(InputError, match="is not a hub's address"):
        fetch(endpoint=address)


def test_a_password_in_the_address_is_not_told(fetch):
    with pytest.raises(Unreachable) as told:
        fetch(endpoint="http://me:secret@127.0.0.1:9")
    assert "secret" not in str(told.value)


def test_an_answer_that_no_hub_gives(fetch, hub):
    hub.plain = True
    with pytest.raises(Unreachable, match="does not answer as a hub does"):
        fetch()


def test_no_room_is_told_before_the_first_byte(fetch, hub, tmp_path):
    hub.claimed_size = 10**17
    with pytest.raises(StorageError, match=r"100,000,000\.0 GB are still to come"):
        fetch()
    assert not hub.content_requests() and names(tmp_path) == []


def test_a_folder_that_cannot_be_made(hub, tmp_path):
    (tmp_path / "file").write_text("")
    source = make_source(REPOSITORY, FILE, None, hub.endpoint)
    with pytest.raises(StorageError, match="choose another folder"):
        download(source, tmp_path / "file" / "w", JobControl(print), accepted=True)


def test_the_licence_comes_before_any_request(fetch, hub):
    with pytest.raises(InputError, match="non-commercial research only"):
        fetch(accepted=False)
    assert hub.requests == []


def test_two_runs_do_not_write_one_part(fetch, hub, tmp_path):
    hub.pause_s = 0.01
    refused = []

    def second(event):
        if event["event"] == "progress" and not refused:
            try:
                fetch()
            except InputError as error:
                refused.append(str(error))

    fetch(control=JobControl(second))
    assert "another run" in refused[0]


@pytest.mark.skipif(os.name == "nt", reason="file size limits are Unix's")
def test_a_disk_that_fills_up_keeps_the_previous_file(fetch, hub, tmp_path, content):
    import resource

    fetch(revision=OLD)
    arguments = ["download", REPOSITORY, FILE, "--endpoint", hub.endpoint, "--accept-licence"]
    done = subprocess.run(
        [sys.executable, "-m", "skysense", *arguments, "--out", str(tmp_path / "w.safetensors")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert done.returncode == 2 and "cannot be written" in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "w.safetensors").read_bytes() == content[::-1]
