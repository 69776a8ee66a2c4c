"""The errors that people can do something about.

Library code raises these; only the edges (CLI, worker, Processing, dock) turn them into sentences.
Anything else that is raised is a defect of ours.
"""


class SkySenseError(Exception):
    """Something that stops a job, told as: what happened, where, and what to do.

    Args:
        what: what is wrong, without a full stop ("the file has no coordinate system").
        where: the layer, row, file, band or option concerned; quoted as the user knows it.
        fix: what the user can do, as an imperative ("Assign a CRS in Layer Properties").
    """

    kind = "internal"

    def __init__(self, what: str, where: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """One line for a person: "where: what. fix." """
        text = f"{self.where}: {self.what}" if self.where else self.what[:1].upper() + self.what[1:]
        parts = [text, self.fix] if self.fix else [text]
        return " ".join(part.strip().rstrip(".") + "." for part in parts).replace("\n", " ")


class InputError(SkySenseError):
    """What the user gave cannot be used as it is (CLI exit code 2)."""

    kind = "input"


class StorageError(InputError):
    """A result cannot be written: disk full, no permission, a path that does not exist (CLI exit code 2)."""

    kind = "storage"


class Cancelled(SkySenseError):
    """The user stopped the job (CLI exit code 3)."""

    kind = "cancelled"

    def __init__(self, what: str = "cancelled by the user") -> None:
        super().__init__(what)
