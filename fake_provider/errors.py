"""The errors of the provider.

Exception
├── Rejected            a call is rejected; carries the gRPC code of the answer
└── CannotServe         the provider cannot start, or not go on for now; the message is one line
    ├── StateFileError  the state file cannot be used
    └── HostsLogError   the hosts log cannot be used
"""

from enum import StrEnum


class Code(StrEnum):
    """The gRPC status codes that a rejection may have, by name."""

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
    """A call is rejected with this code and message."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class CannotServe(Exception):
    """The address cannot be bound, or the TLS files are invalid."""


class StateFileError(CannotServe):
    """The state file cannot be read or written, is damaged, belongs to another program or is locked."""


class HostsLogError(CannotServe):
    """The hosts log cannot be read or written."""


def quoted(text: str) -> str:
    """Returns the text quoted, printable, and short enough for a response header (COD-5)."""
    return repr(text if len(text) <= 64 else text[:61] + "...")
