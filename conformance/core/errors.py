"""The errors of the kit: one class per cause. The class decides a status or an exit code.

::

    ConformanceError
    ├── UsageError               exit 2: an argument or a file of the user cannot be used
    ├── TargetError              exit 3: the target cannot be judged
    │   ├── TargetLost           ... any more: it stopped answering during the run
    │   └── StillRunning         it did not end in time when it was asked to stop
    └── Outcome                  the result of a behaviour that did not pass
        ├── Violation            FAILED (or WARNED): the provider broke a clause
        ├── Unsupported          SKIPPED: the provider legally lacks what this judges
        ├── SeenOnce             SKIPPED: it must be seen on a second machine to count, and was not
        └── Undecided            ERROR: the kit could not tell
            ├── Unprepared       the machine could not be driven to the state in which the behaviour starts
            ├── NotObserved      the kit could not observe what the behaviour judges
            │   ├── NoAnswer     a call was not answered by the provider
            │   └── KitTooSlow   ... because its own calls came too late
            ├── NotWritten       the ledger cannot be written, so no machine may be started
            ├── Shortage         not enough machines
            ├── BudgetSpent      --max-creates is reached
            └── Disturbed        another client changed the machine
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class ShownCall(Protocol):
    """A call that shows a violation: the part of a `Call` that is needed to find it among all calls of a behaviour."""

    @property
    def number(self) -> int:
        """The call's number in this process."""

    @property
    def rpc(self) -> str:
        """The method's name."""

    @property
    def answered(self) -> bool:
        """True if the provider sent the status."""

    @property
    def operation_id(self) -> str:
        """The ack's operation id; empty if there is no ack."""


class ConformanceError(Exception):
    """An error for the user: a message of one line, and optionally a hint how to fix it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(ConformanceError):
    """An argument, option or file of the user cannot be used. Exit code 2."""


class TargetError(ConformanceError):
    """The target cannot be judged: it is unreachable, not a provider, or too small. Exit code 3."""


class TargetLost(TargetError):
    """The target stopped answering during the run. Exit code 3."""


class StillRunning(TargetError):
    """The provider did not end in time when it was asked to stop."""


class Outcome(ConformanceError):
    """The result of a behaviour that did not pass."""


class Violation(Outcome):
    """The provider broke a clause: the kit `wanted` one thing and `got` another, as `calls` show."""

    def __init__(self, wanted: str, got: str, *, calls: Sequence[ShownCall] = (), clauses: Sequence[str] = ()) -> None:
        super().__init__(f"wanted {wanted}; got {got}")
        self.wanted = wanted
        self.got = got
        self.calls = tuple(calls)
        self.clauses = tuple(clauses)
        """The clauses of which one is broken, if it may not be the one that is being judged."""


class Unsupported(Outcome):
    """The provider legally lacks what the behaviour judges."""


class SeenOnce(Outcome):
    """A finding that counts only if it is seen again on another machine: a busy computer may have caused it."""


class Undecided(Outcome):
    """The kit could not tell. A MUST with this result makes the run inconclusive."""


class Unprepared(Undecided):
    """The machine could not be driven to the state in which the behaviour starts."""


class NotObserved(Undecided):
    """The kit could not observe what the behaviour judges."""


class KitTooSlow(NotObserved):
    """The kit's own calls came too late to observe a transition. It may be in time when less is going on."""


class NoAnswer(NotObserved):
    """A call was not answered by the provider: its outcome was read, but the connection or the time ended before it."""


class NotWritten(Undecided):
    """The ledger cannot be written, and the kit starts no machine that is not in it."""


class Shortage(Undecided):
    """The provider has too few machines for the behaviour."""


class BudgetSpent(Undecided):
    """One more Create would exceed --max-creates."""


class Disturbed(Undecided):
    """Another client changed the machine, so the observations are not evidence about the provider."""
