"""Which files of weights a repository holds."""

import json
from typing import Any

from huggingface_hub import HfApi

from skysense.hub.errors import hub_errors, no_hub
from skysense.hub.source import WEIGHT_SUFFIXES, Source

_TIMEOUT_S = 10.0


def list_weights(source: Source, token: str | None = None) -> dict[str, Any]:
    """Ask the hub for a repository's weight files.

    Args:
        source: repository, revision and endpoint; its file does not matter.
        token: sent to the endpoint only.

    Returns:
        {"repository", "revision": the commit's hash, "files": [{"file", "size": bytes, "sha256": or None}]}, by name.

    Raises:
        HubError: the hub cannot be reached, or has no such repository or revision, or asks for a token.
    """
    with hub_errors(source, token):
        try:
            info = HfApi(endpoint=source.endpoint, token=token or False).model_info(
                source.repository, revision=source.revision, files_metadata=True, timeout=_TIMEOUT_S
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
