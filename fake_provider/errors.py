"""How the core says no.

Exception
├── Rejected        a call is refused; carries the code to answer with
└── StateFileError  a state file cannot be used; the message says why
"""

from enum import StrEnum


class Code(StrEnum):
    """The gRPC codes a refusal may carry, by their names on the wire."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"


class Rejected(Exception):  # noqa: N818 - a refusal is an answer, not an error of ours
    """A call that is refused."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class StateFileError(Exception):
    """A state file that cannot be opened, belongs to another program or is in use."""


def quoted(text: str) -> str:
    """The text as a message may show it: printable, and short enough for a response header (COD-5)."""
    return repr(text if len(text) <= 64 else text[:61] + "...")
