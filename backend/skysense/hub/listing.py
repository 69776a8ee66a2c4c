"""Which files of weights a repository holds."""

import json
from typing import Any

from huggingface_hub import HfApi

from skysense.hub.errors import hub_errors, no_hub
from skysense.hub.fetch import ask
from skysense.hub.source import WEIGHT_SUFFIXES, Source
from skysense.jobs.control import JobControl

_TIMEOUT_S = 10.0


def list_weights(source: Source, control: JobControl, token: str | None = None) -> dict[str, Any]:
    """Ask the hub for a repository's weight files.

    Args:
        source: repository, revision and endpoint; its file does not matter.
        control: Cancel.
        token: sent to the endpoint only.

    Returns:
        {"repository", "revision": the commit's hash, "files": [{"file", "size": bytes, "sha256": or None}]}, by name.

    Raises:
        HubError: the hub cannot be reached, or has no such repository or revision, or asks for a token;
        Cancelled.
    """
    with hub_errors(source, token):
        try:
            hub = HfApi(endpoint=source.endpoint, token=token or False)
            info = ask(
                lambda: hub.model_info(
                    source.repository, revision=source.revision, files_metadata=True, timeout=_TIMEOUT_S
                ),
                control,
            )
        except (json.JSONDecodeError, TypeError):
            raise no_hub(source) from None
    if not info.sha:
        raise no_hub(source)
    files = [
        {"file": item.rfilename, "size": item.size, "sha256": item.lfs.sha256 if item.lfs else None}
        for item in info.siblings or ()
        if item.rfilename.lower().endswith(WEIGHT_SUFFIXES)
    ]
    return {
        "repository": source.repository,
        "revision": info.sha,
        "files": sorted(files, key=lambda item: str(item["file"])),
    }
