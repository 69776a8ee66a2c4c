"""What can go wrong between here and a hub, told in one sentence each; the library's own errors end here."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from skysense.errors import InputError
from skysense.hub.source import Source


class HubError(InputError):
    """A hub does not give what it is asked for (CLI exit code 2)."""

    kind = "hub"


class Unreachable(HubError):
    """No answer, or one that no hub would give."""


class NotFound(HubError):
    """No such repository, revision or file."""


class Denied(HubError):
    """The repository is gated or private, and the token is missing or not enough."""


class WrongContent(HubError):
    """The file that came is not the one that was asked for."""


@contextmanager
def hub_errors(source: Source, token: str | None) -> Iterator[None]:
    """Turn what the library raises into the errors above.

    Args:
        source: what is asked for; quoted in the sentences.
        token: decides whether a refusal asks for a token or says that this one is not enough; never quoted.
    """
    repository, host = source.repository, source.host
    _check_environment(host)
    try:
        yield
    except HFValidationError:
        raise NotFound("is not a repository's name", repository, 'Write it as "owner/name"') from None
    except GatedRepoError:
        raise Denied(*_gated(repository, token)) from None
    except RevisionNotFoundError:
        raise NotFound(f"has no revision {source.revision!r}", repository, "Check the revision") from None
    except RemoteEntryNotFoundError:
        what = f"has no file {source.file!r} in the revision {source.revision!r}"
        raise NotFound(
            what, repository, "List the files that it has (skysense download REPO --list)"
        ) from None
    except RepositoryNotFoundError:
        fix = "Check the name" if token else "Check the name; a private repository needs a token (HF_TOKEN)"
        raise NotFound(f"is not on {host}, or not for everyone", repository, fix) from None
    except DisabledRepoError:
        raise Denied(f"is disabled on {host}", repository, "Choose another repository") from None
    except HfHubHTTPError as error:
        raise _refusal(error.response.status_code, source, token) from None
    except OfflineModeIsEnabled:
        raise Unreachable(
            "downloads are switched off (HF_HUB_OFFLINE)", host, "Unset HF_HUB_OFFLINE and try again"
        ) from None
    except FileMetadataError:
        raise no_hub(source) from None
    except HTTPError as error:
        reason = str(error) or type(error).__name__
        raise Unreachable(
            f"the hub cannot be reached ({reason})",
            host,
            "Check the connection, or give a mirror as the endpoint; what has arrived is kept",
        ) from None


def _check_environment(host: str) -> None:
    """The library makes its client before the first request, of the proxies and certificates that the environment names."""
    try:
        get_session()
    except Exception as error:  # of many kinds, without a common one
        raise Unreachable(
            f"the proxy or the certificates that the environment names cannot be used ({error})",
            host,
            "Correct or unset HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR",
        ) from None


def no_hub(source: Source) -> Unreachable:
    """What answers there is no hub."""
    return Unreachable("does not answer as a hub does", source.host, "Check the endpoint")


def _gated(repository: str, token: str | None) -> tuple[str, str, str]:
    if token:
        return "is gated, and this token has no access", repository, "Ask for access on the repository's page"
    return (
        "is gated: it asks who you are",
        repository,
        "Ask for access on the repository's page and give a token (HF_TOKEN; in QGIS: Advanced, Authentication)",
    )


def _refusal(status: int, source: Source, token: str | None) -> HubError:
    if status in (401, 403):
        what = f"refuses this token ({status})" if token else f"asks for a token ({status})"
        return Denied(what, source.host, "Give a valid token (HF_TOKEN; in QGIS: Advanced, Authentication)")
    if status == 404:
        return NotFound(
            f"is not on {source.host} with the revision {source.revision!r} and the file {source.file!r}",
            source.repository,
            "Check repository, revision and file",
        )
    return Unreachable(f"the hub answers with the error {status}", source.host, "Try again later")
