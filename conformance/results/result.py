"""Results of behaviours, the causes of failures, and the verdict on a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from conformance.core.catalogue import Level

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from conformance.core.catalogue import Entry
    from conformance.rpc.call import CallView


class Status(StrEnum):
    """The outcome of a behaviour."""

    PASSED = "passed"
    FAILED = "failed"
    """The provider broke a MUST."""
    WARNED = "warned"
    """The provider broke a SHOULD."""
    SKIPPED = "skipped"
    """It does not apply to this provider, could not be seen, or is a MAY that the provider does not keep."""
    ERROR = "error"
    """The kit could not judge the behaviour."""


JUDGED: Final = (Status.PASSED, Status.FAILED, Status.WARNED)
"""The statuses that are a judgement on the provider."""


BROKEN: Final = {Level.MUST: Status.FAILED, Level.SHOULD: Status.WARNED, Level.MAY: Status.SKIPPED}
"""The status of a behaviour that the provider breaks, by its level."""


class Verdict(StrEnum):
    """The verdict of a run on its target."""

    CONFORMANT = "conformant"
    NON_CONFORMANT = "non-conformant"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one behaviour, with its calls as evidence. Times in seconds on the run's clock."""

    entry: Entry
    status: Status
    reason: str = ""
    wanted: str = ""
    got: str = ""
    started: float = 0.0
    seconds: float = 0.0
    machines: tuple[str, ...] = ()
    calls: tuple[CallView, ...] = field(default=(), repr=False)
    decisive: tuple[int, ...] = ()
    """The indices of the calls that show the failure, in order. Empty if nothing failed."""

    @property
    def id(self) -> str:
        """The behaviour's id."""
        return self.entry.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A failure, and its consequences: the failures of behaviours that depend on it."""

    root: Result
    consequences: tuple[Result, ...]


def causes(results: Sequence[Result]) -> tuple[Cause, ...]:
    """Returns the causes of failures and warnings: failures first, then by the number of consequences.

    Every failure and every warning is in exactly one cause, as its root or as a consequence. A result is a consequence
    of a behaviour that it depends on, directly or indirectly, if that one is broken and not a consequence itself.
    """
    rests_on = {result.id: result.entry.rests_on for result in results}
    broken = {result.id: result for result in results if result.status in (Status.FAILED, Status.WARNED)}
    consequences_of: dict[str, list[Result]] = {}
    for result in broken.values():
        root = next(
            (
                name
                for name in _dependencies(result.id, rests_on)
                if name in broken and not _depends_on_broken(name, rests_on, broken)
            ),
            None,
        )
        consequences_of.setdefault(root or result.id, []).append(result)
    found = [
        Cause(root=broken[root], consequences=tuple(result for result in group if result.id != root))
        for root, group in consequences_of.items()
    ]
    return tuple(sorted(found, key=lambda cause: (cause.root.status is not Status.FAILED, -len(cause.consequences))))


def cause_ids(results: Sequence[Result]) -> dict[str, str]:
    """Returns the id of the cause by the id of each consequence."""
    return {result.id: cause.root.id for cause in causes(results) for result in cause.consequences}


def _dependencies(behaviour_id: str, rests_on: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns all behaviours that a behaviour depends on, the nearest first."""
    known: dict[str, None] = {}
    layer = list(rests_on.get(behaviour_id, ()))
    while layer:
        known |= dict.fromkeys(layer)
        layer = [name for each in layer for name in rests_on.get(each, ()) if name not in known]
    return list(known)


def _depends_on_broken(behaviour_id: str, rests_on: Mapping[str, Sequence[str]], broken: Collection[str]) -> bool:
    return any(name in broken for name in _dependencies(behaviour_id, rests_on))


def judge(results: Sequence[Result], *, strict: bool = False, tolerated: Collection[str] = ()) -> Verdict:
    """Returns the verdict: non-conformant for a broken MUST; else inconclusive if a MUST or nothing was judged.

    With `strict` a broken SHOULD counts like a MUST. Results whose id is in `tolerated` count as judged, but do not
    decide the verdict.
    """
    counting = [result for result in results if result.id not in tolerated]
    statuses = {result.status for result in counting}
    if Status.FAILED in statuses or (strict and Status.WARNED in statuses):
        return Verdict.NON_CONFORMANT
    undecided = any(result.status is Status.ERROR and counts(result, strict) for result in counting)
    if undecided or not any(result.status in JUDGED for result in results):
        return Verdict.INCONCLUSIVE
    return Verdict.CONFORMANT


def counts(result: Result, strict: bool) -> bool:
    """Returns whether a result of this level decides the verdict."""
    return result.entry.level is Level.MUST or (strict and result.entry.level is Level.SHOULD)
