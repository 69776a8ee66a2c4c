"""Downloads one file of weights: pinned, resumed, checked, and put in its place only when it is whole."""

import datetime
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.utils import WeakFileLock, build_hf_headers
from huggingface_hub.utils.sha import git_hash

import skysense
from skysense.errors import InputError, StorageError
from skysense.hub.errors import WrongContent, hub_errors, no_hub
from skysense.hub.fetch import ask, fetch
from skysense.hub.licence import LICENCE, require_acceptance
from skysense.hub.source import Source
from skysense.jobs.control import JobControl
from skysense.jobs.sidecar import write_json
from skysense.model.checkpoint.provenance import file_sha256, record_of, recorded_sha256

_COMMIT = re.compile(r"[0-9a-f]{40}")
_GIT_OID = _COMMIT
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOCK_S = 0.5


def download(
    source: Source,
    out: Path,
    control: JobControl,
    *,
    accepted: bool,
    sha256: str | None = None,
    token: str | None = None,
) -> dict[str, Any]:
    """Download a file, or go on with an interrupted download of the same content.

    The bytes gather in `<out>.<content>.part`; a run that is cancelled, cut off or killed leaves it there for the next.
    `<out>.source.json` records repository, file, commit, SHA-256 and the accepted licence; never the token. A file that is
    there already is used if it is what is asked for, makes way if its record says that a download of the same file of the
    same repository has put it there, and is otherwise left alone.

    Args:
        source: a branch or tag is resolved to a commit once, and that commit is downloaded and recorded.
        out: the file to write; a folder gets the file under its own name.
        accepted: the user has accepted the licence.
        sha256: what the file must have, 64 hex digits; else what the hub tells is checked (all large files).
        token: sent to the endpoint only.

    Returns:
        {"path", "repository", "file", "revision", "sha256", "size", "licence"}.

    Raises:
        InputError: licence not accepted, no file named, `sha256` is none, another file is in the way; HubError: see there;
        StorageError: no room, or it cannot be written; Cancelled. A file that was there before is then still there.
    """
    require_acceptance(accepted, "Add --accept-licence if you agree")
    name = source.file.rsplit("/", 1)[-1]
    if not name:
        raise InputError("no file is named", source.repository, "List the files that it has and name one")
    wanted = _checked_sha256(sha256)
    if out.is_dir():
        out = out / name
    remote = _ask(source, token, control)
    if wanted and remote.sha256 and wanted != remote.sha256:
        where = f"{source.repository}/{source.file}"
        raise WrongContent(f"has the SHA-256 {remote.sha256}, not {wanted}", where, "Check the revision")
    expected = wanted or remote.sha256
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(f"{out.name}.{remote.key}.part")
        with _alone(part):
            if same := _same(out, remote, expected, control):
                digest = same
                control.note(f"{out.name} is already there.")
            else:
                _keep_others(out, source, control)
                _need_room(part, remote.size)
                with hub_errors(source, token):
                    fetch(_url(remote.pinned), part, remote.size, _headers(token), control)
                control.progress(1.0, "Checking the file")
                if not expected and not remote.git_oid:
                    control.note(f"{source.host} tells no SHA-256 of this file; only its size is checked.")
                digest = _verify(part, remote, expected, source, control)
                _keep_others(out, source, control)  # one may have come meanwhile
                record_of(out).unlink(missing_ok=True)  # it tells of the file before
                os.replace(part, out)
                _remove_other_parts(out)
        record = {
            "repository": source.repository,
            "file": source.file,
            "revision": remote.pinned.revision,
            "sha256": digest,
            "size": remote.size,
            "licence": LICENCE,
        }
        accepted_on = datetime.datetime.now(datetime.UTC).date().isoformat()
        write_json(record_of(out), {**record, "licence_accepted": accepted_on})
    return {"path": str(out), **record}


@dataclass(frozen=True)
class _Remote:
    """What the hub tells of a file.

    Attributes:
        pinned: with the commit as its revision.
        size: in bytes.
        sha256: of large files.
        git_oid: of small files, which lie in git itself.
        key: a name for the content.
    """

    pinned: Source
    size: int
    sha256: str | None
    git_oid: str | None
    key: str


def _ask(source: Source, token: str | None, control: JobControl) -> _Remote:
    with hub_errors(source, token):
        told = ask(
            lambda: get_hf_file_metadata(_url(source), token=token or False, endpoint=source.endpoint),
            control,
        )
    if told.commit_hash is None or told.etag is None or told.size is None:
        raise no_hub(source)
    if _COMMIT.fullmatch(source.revision) and source.revision != told.commit_hash:
        raise no_hub(source)
    return _Remote(
        pinned=replace(source, revision=told.commit_hash),
        size=told.size,
        sha256=told.etag if _SHA256.fullmatch(told.etag) else None,
        git_oid=told.etag if _GIT_OID.fullmatch(told.etag) else None,
        key=hashlib.sha256(told.etag.encode()).hexdigest()[:12],
    )


def _headers(token: str | None) -> dict[str, str]:
    return build_hf_headers(
        token=token or False, library_name="skysense", library_version=skysense.__version__
    )


def _url(source: Source) -> str:
    return hf_hub_url(source.repository, source.file, revision=source.revision, endpoint=source.endpoint)


def _checked_sha256(sha256: str | None) -> str | None:
    text = (sha256 or "").strip().lower()
    if text and not _SHA256.fullmatch(text):
        raise InputError("is not a SHA-256", sha256, "Give its 64 hexadecimal digits")
    return text or None


def _need_room(part: Path, size: int) -> None:
    missing = size - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise StorageError(
            f"has {free / 1e9:,.1f} GB free, and {missing / 1e9:,.1f} GB are still to come",
            str(part.parent),
            "Free some space or choose another folder",
        )


def _verify(part: Path, remote: _Remote, expected: str | None, source: Source, control: JobControl) -> str:
    """The SHA-256 of the whole part; a part that is not what it should be is removed."""
    if part.stat().st_size == remote.size:
        digest = file_sha256(part, control)
        if expected not in (None, digest):
            what = f"what arrived has the SHA-256 {digest}, not {expected}"
        elif remote.git_oid and git_hash(part.read_bytes()) != remote.git_oid:
            what = "what arrived is not what the hub's git holds"
        else:
            return digest
    else:
        what = f"{part.stat().st_size} bytes arrived instead of {remote.size}"
    part.unlink()
    raise WrongContent(
        what, f"{source.repository}/{source.file}", "Download it again, or from another endpoint"
    )


def _same(out: Path, remote: _Remote, expected: str | None, control: JobControl) -> str | None:
    """The SHA-256 of a file that is what is asked for; None: it is not, or the hub tells too little."""
    if not out.is_file() or out.stat().st_size != remote.size:
        return None
    digest = file_sha256(out, control)
    if expected:
        return digest if digest == expected else None
    return digest if remote.git_oid and git_hash(out.read_bytes()) == remote.git_oid else None


def _keep_others(out: Path, source: Source, control: JobControl) -> None:
    """Only what a download of the same file, perhaps of another commit, has put there makes way for another one."""
    if not out.exists():
        return
    if file_sha256(out, control) != recorded_sha256(out):
        there = "is not what SkySense has downloaded"
    elif (before := _recorded_file(out)) != f"{source.repository}/{source.file}":
        there = f"holds {before}"
    else:
        return
    raise InputError(
        f"{there}, and {source.repository}/{source.file} would take its place",
        str(out),
        "Move it away, or choose another place",
    )


def _recorded_file(out: Path) -> str:
    """The repository and the file in it that a download has recorded."""
    record = json.loads(record_of(out).read_text(encoding="utf-8"))
    return f"{record.get('repository')}/{record.get('file')}"


def _remove_other_parts(out: Path) -> None:
    """Interrupted downloads of other contents to the same place are of no use any more."""
    ours = re.compile(re.escape(out.name) + r"\.[0-9a-f]{12}\.part")
    for path in out.parent.iterdir():
        if ours.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """One run at a time appends to a part; a killed run's lock is free."""
    lock = part.with_name(part.name + ".lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(lock, timeout=_LOCK_S))
        except TimeoutError:
            raise InputError(
                "is being downloaded by another run", str(part), "Wait until it has ended"
            ) from None
        try:
            yield
        finally:
            stack.close()
            with suppress(OSError):  # Windows does not remove what a waiting run has open
                lock.unlink()


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot be written ({error.strerror or error})",
            str(out),
            "Free some space or choose another folder; what has arrived is kept",
        ) from None
