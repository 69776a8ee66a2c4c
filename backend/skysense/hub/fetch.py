"""Fetches the bytes that are still missing of a file.

`huggingface_hub.hf_hub_download` (2.4) writes to a temporary file of its own that it removes when it is stopped, so that
a download of gigabytes would start again from nothing; here the bytes go to a file of ours that is appended to. The
requests themselves are the library's.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

from skysense.jobs.control import JobControl

_T = TypeVar("_T")
_ATTEMPTS = 5  # in a row without a single new byte
_QUESTIONS = 3  # at most, before anything is fetched
_PAUSE_S = 1.0
_BUSY = (408, 429)


def fetch(url: str, part: Path, size: int, headers: dict[str, str], control: JobControl) -> None:
    """Append to `part` until it has `size` bytes; each byte that arrives is kept, however this ends.

    Args:
        url: of a fixed content; asked again after a cut, so that an expired redirect is renewed.
        part: begins with the first bytes of that content, or does not exist.
        headers: of the hub's host; the authorization is not passed on to another host that it redirects to.
        control: progress by bytes; Cancel.

    Raises:
        HTTPError: the hub cannot be reached, or keeps cutting the connection; HfHubHTTPError: it refuses, or is down for longer.
        OSError: the part cannot be written.
        Cancelled.
    """
    idle = 0
    while (done := part.stat().st_size if part.exists() else 0) < size:
        try:
            _fetch_once(url, part, done, size, headers, control)
            idle += 1  # an answer that ends early, in good order
        except HTTPError as error:
            if idle >= _ATTEMPTS or (isinstance(error, HfHubHTTPError) and not _is_down(error)):
                raise
            idle += 1
        if part.exists() and part.stat().st_size > done:
            idle = 0
        elif idle > _ATTEMPTS:
            raise HTTPError("the answers are empty")
        else:
            _pause(control)


def ask(question: Callable[[], _T], control: JobControl) -> _T:
    """What a hub answers, asked again where it is down for a moment.

    Raises:
        What the question raises; Cancelled.
    """
    for _ in range(_QUESTIONS - 1):
        try:
            return question()
        except HfHubHTTPError as error:
            if not _is_down(error):
                raise
        _pause(control)
    return question()


def _fetch_once(
    url: str, part: Path, done: int, size: int, headers: dict[str, str], control: JobControl
) -> None:
    # Uncompressed, so that the ranges count the file's own bytes.
    asked = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    with http_stream_backoff(
        "GET",
        url,
        headers=asked,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),
        retry_on_status_codes=_BUSY,
    ) as response:
        hf_raise_for_status(response)
        goes_on = response.status_code == 206
        done = done if goes_on else 0
        with part.open("ab" if goes_on else "wb") as stream:
            for chunk in response.iter_bytes():
                stream.write(chunk)
                stream.flush()  # what is written outlives a killed process
                done += len(chunk)
                control.progress(min(done / size, 1.0), f"Downloading, {_mb(done)} of {_mb(size)} MB")


def _is_down(error: HfHubHTTPError) -> bool:
    """Whether the server, or a gateway before it, fails at what it will do another time."""
    return error.response.status_code >= 500


def _pause(control: JobControl) -> None:
    until = time.monotonic() + _PAUSE_S
    while time.monotonic() < until:
        control.check()
        time.sleep(0.05)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"
