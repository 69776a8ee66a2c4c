"""The terms under which the released weights may be used. Standard library only."""

from skysense.errors import InputError

#: Shown before a download and recorded beside the file. The copies' own pages name other licences; the authors' terms count.
LICENCE = (
    "The released SkySense weights are for non-commercial research only, whatever licence a copy's page names; "
    "for commercial use ask their authors (Wuhan University)."
)


def require_acceptance(accepted: bool, how: str) -> None:
    """Stop unless the user has accepted the licence.

    Args:
        how: what the user can do to accept it, as an imperative.

    Raises:
        InputError: it has not been accepted; the sentence is the licence's.
    """
    if not accepted:
        raise InputError(LICENCE, None, how)
