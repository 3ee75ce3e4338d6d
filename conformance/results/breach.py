"""Breaches of the contract that were seen outside the behaviours, and what they change in the results of a run.

A run sees answers before, between and after its behaviours: when it begins, and when it prepares and returns machines.
Each breach names the behaviour that judges the same thing, and becomes a failure of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.core.errors import TargetError
from conformance.results.result import BROKEN, Result, Status
from conformance.results.symptoms import explains, symptoms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.catalogue import Catalogue, Entry
    from conformance.rpc.call import Call

OUTSIDE: Final = "seen outside the behaviours"
MOVED: Final = "LIF-3a"
"""The behaviour about machines that move without a call."""
ENOUGH_MACHINES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """An answer that the contract does not allow: the kit `wanted` one thing and `got` another, as `calls` show."""

    behaviour: str
    """The id of the behaviour that judges the same thing."""
    wanted: str
    got: str
    calls: tuple[Call, ...]
    machine: str = ""
    other_client_possible: bool = False
    """True if another client that drives the kit's machines could have caused it too."""

    @property
    def text(self) -> str:
        """The breach in one line."""
        return f"wanted {self.wanted}; got {self.got}"

    def result(self, entry: Entry) -> Result:
        """Returns the result of the behaviour `entry`, with the calls as evidence."""
        started = min((call.started for call in self.calls), default=0.0)
        machines = (self.machine,) if self.machine else ()
        return Result(
            entry=entry,
            status=BROKEN[entry.level],
            reason=f"{entry.clause.id}: {self.text} ({OUTSIDE})",
            wanted=self.wanted,
            got=self.got,
            started=started,
            machines=machines,
            calls=tuple(call.compact(machines) for call in self.calls),
            decisive=tuple(range(len(self.calls))),
        )


def credible(breaches: Sequence[Breach], *, other_client: bool) -> tuple[Breach, ...]:
    """Returns the breaches that no other client can have caused. `other_client`: one is known to be active.

    A machine that moves by itself may be another client's doing as long as it is not the third one (LIF-3).
    """
    moved = {breach.machine for breach in breaches if breach.behaviour == MOVED}
    doubtful = {MOVED} if len(moved) < ENOUGH_MACHINES else set()
    return tuple(
        breach
        for breach in breaches
        if not (breach.other_client_possible and (other_client or breach.behaviour in doubtful))
    )


class TargetBroken(TargetError):
    """The target cannot be judged by the behaviours, and what was seen until then breaks the contract."""

    def __init__(self, error: TargetError, breaches: Sequence[Breach]) -> None:
        first = breaches[0]
        super().__init__(f"{first.behaviour} is broken: {first.text}; so {error.message}")
        self.breaches = tuple(breaches)


def with_breaches(results: Sequence[Result], breaches: Sequence[Breach], entries: Catalogue) -> tuple[Result, ...]:
    """Returns the results with the breaches as failures and warnings, which come last.

    A breach is left out if a failure shows the same or explains it, also one that is tolerated: what follows from it is
    tolerated too. `entries` has all behaviours: a breach may be about one that is not in `results`.
    """
    known = {result.id: result for result in results}
    failures = [symptoms(each) for each in results if each.status is Status.FAILED]
    found = dict[str, Result]()
    for breach in breaches:
        before = known.get(breach.behaviour)
        if breach.behaviour in found or (before is not None and before.status is Status.FAILED):
            continue
        entry = before.entry if before is not None else entries[breach.behaviour]
        result = breach.result(entry)
        if not any(explains(failure, symptoms(result)) for failure in failures):
            found[breach.behaviour] = result
    return (*(result for result in results if result.id not in found), *found.values())
