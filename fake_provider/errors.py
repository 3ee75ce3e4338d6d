"""How this program says no.

Exception
├── Rejected            a call is refused; carries the code to answer with
└── CannotServe         the provider cannot start; the message says why in one line
    └── StateFileError  because of its state file
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


class Rejected(Exception):
    """A call that is refused."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class CannotServe(Exception):
    """The address cannot be bound, or the TLS files are none."""


class StateFileError(CannotServe):
    """A state file that cannot be opened, belongs to another program or is in use."""


def quoted(text: str) -> str:
    """The text as a message may show it: printable, and short enough for a response header (COD-5)."""
    return repr(text if len(text) <= 64 else text[:61] + "...")
