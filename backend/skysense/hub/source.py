"""Where a file of weights comes from. Standard library only."""

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from skysense.errors import InputError

#: The public hub, where nothing else is said.
PUBLIC_ENDPOINT = "https://huggingface.co"
#: A copy of released weights, made by a third party; a suggestion, not an endorsement. The same party's `*-transformers` copies are in
#: another layout, without the layer norms of the release (reference specification 4), and `convert` refuses them.
KNOWN_REPOSITORIES = ("BiliSakura/SkySensepp",)
#: Endings of a file that names the parts of weights in several files.
INDEX_SUFFIXES = (".safetensors.index.json", ".bin.index.json")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", *INDEX_SUFFIXES)


@dataclass(frozen=True)
class Source:
    """A file in a revision of a repository on a hub.

    Attributes:
        repository: "owner/name".
        file: its path in the repository; "" = not chosen yet.
        revision: a commit's hash, which pins the content, or a branch or tag.
        endpoint: the hub's or a mirror's address, without a slash at its end.
    """

    repository: str
    file: str = ""
    revision: str = "main"
    endpoint: str = PUBLIC_ENDPOINT

    @property
    def host(self) -> str:
        """The hub as people are told of it: host and port, without a user's name or password."""
        return urlsplit(self.endpoint).netloc.rpartition("@")[2]


def make_source(
    repository: str, file: str | None = None, revision: str | None = None, endpoint: str | None = None
) -> Source:
    """A source from what a person typed; what is left open takes its default, the endpoint HF_ENDPOINT.

    Raises:
        InputError: the endpoint is no web address.
    """
    address = (endpoint or "").strip() or os.environ.get("HF_ENDPOINT", "").strip() or PUBLIC_ENDPOINT
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname) and parts.port != 0 and not re.search(r"[\s\x00-\x1f]", address)
        valid = parts.scheme in ("http", "https") and named
    except ValueError:
        valid = False
    if not valid:
        raise InputError("is not a hub's address", address, f'Write it like "{PUBLIC_ENDPOINT}"')
    return Source(
        repository.strip(), (file or "").strip(), (revision or "").strip() or "main", address.rstrip("/")
    )


def environment_token() -> str | None:
    """The token that HF_TOKEN holds, if any."""
    return os.environ.get("HF_TOKEN", "").strip() or None
