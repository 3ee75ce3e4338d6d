"""What can go wrong, one class per cause; a cause decides a status or an exit code.

::

    ConformanceError
    ├── UsageError               exit 2: what the user gave cannot be used
    ├── TargetError              exit 3: the target cannot be judged
    │   └── TargetLost           ... any more: it went away in the middle
    └── Outcome                  how one behaviour ended, where it did not pass
        ├── Violation            FAILED (or WARNED): the provider broke a clause
        ├── Unsupported          SKIPPED: the provider legally lacks what this judges
        └── Undecided            ERROR: the kit could not tell
            ├── Unprepared       the machine could not be brought to where the behaviour starts
            ├── NotObserved      what is judged did not happen before the kit's eyes
            ├── NoAnswer         a call was not answered by the provider
            ├── NotWritten       the ledger cannot be written, so that nothing may be started
            ├── Shortage         not enough machines
            ├── BudgetSpent      --max-creates is reached
            └── Disturbed        somebody else moved the machine
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class ShownCall(Protocol):
    """A call that shows a violation: as much of a `Call` as is needed to find it among all calls of a behaviour."""

    @property
    def number(self) -> int:
        """Which call of this process it is."""

    @property
    def rpc(self) -> str:
        """The method's name."""

    @property
    def answered(self) -> bool:
        """Whether the provider sent the status."""

    @property
    def operation_id(self) -> str:
        """The ack's operation id; empty if there is no ack."""


class ConformanceError(Exception):
    """An error that has something to say to the user: one line, and where there is one, the mend."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(ConformanceError):
    """What the user gave cannot be used. Exit code 2."""


class TargetError(ConformanceError):
    """The target cannot be judged: not there, not a provider, too small. Exit code 3."""


class TargetLost(TargetError):
    """The target answered, and then no more. Exit code 3."""


class Outcome(ConformanceError):
    """How one behaviour ended, where it did not pass."""


class Violation(Outcome):
    """The provider broke a clause: this was `wanted`, that was `got`, and `calls` show it."""

    def __init__(self, wanted: str, got: str, *, calls: Sequence[ShownCall] = (), clauses: Sequence[str] = ()) -> None:
        super().__init__(f"wanted {wanted}; got {got}")
        self.wanted = wanted
        self.got = got
        self.calls = tuple(calls)
        self.clauses = tuple(clauses)
        """The clauses of which one is broken, where that may be another than the one that is being judged."""


class Unsupported(Outcome):
    """The provider legally lacks what the behaviour judges."""


class Undecided(Outcome):
    """The kit could not tell. A MUST that ends so makes the run inconclusive."""


class Unprepared(Undecided):
    """The machine could not be brought to where the behaviour starts."""


class NotObserved(Undecided):
    """What the behaviour judges did not happen before the kit's eyes."""


class NoAnswer(Undecided):
    """A call was not answered by the provider: refused, lost or past its deadline."""


class NotWritten(Undecided):
    """The ledger cannot be written, and nothing is started that is not written down."""


class Shortage(Undecided):
    """There are not enough machines for the behaviour."""


class BudgetSpent(Undecided):
    """One more Create would pass --max-creates."""


class Disturbed(Undecided):
    """Somebody else moved the machine, so that what was seen says nothing of the provider."""
