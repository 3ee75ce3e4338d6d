"""How a behaviour ended, what its failure follows from, and the verdict that results give together."""

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
    """How a behaviour ended."""

    PASSED = "passed"
    FAILED = "failed"
    """The provider broke a MUST."""
    WARNED = "warned"
    """The provider broke a SHOULD."""
    SKIPPED = "skipped"
    """The provider does not have the capability and need not have it."""
    ERROR = "error"
    """The kit could not judge it."""


JUDGED: Final = (Status.PASSED, Status.FAILED, Status.WARNED)
"""The statuses that say something about the provider."""


BROKEN: Final = {Level.MUST: Status.FAILED, Level.SHOULD: Status.WARNED, Level.MAY: Status.SKIPPED}
"""The status of a behaviour that the provider breaks, by its level."""


class Verdict(StrEnum):
    """The verdict of a run on its target."""

    CONFORMANT = "conformant"
    NON_CONFORMANT = "non-conformant"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one behaviour ended, with its calls as evidence. Times in seconds on the run's clock."""

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
    """The indices of the calls that show what is wrong, in order. Empty if nothing is."""

    @property
    def id(self) -> str:
        """The behaviour's id."""
        return self.entry.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A behaviour that failed by itself, and its consequences: those that failed because they rest on it."""

    root: Result
    consequences: tuple[Result, ...]


def causes(results: Sequence[Result]) -> tuple[Cause, ...]:
    """Returns the causes of what is broken: failures before warnings, and those with the most consequences first.

    Every failure and every warning is in exactly one cause, as its root or as a consequence. A result is a consequence
    of what it rests on, directly or indirectly, if that is broken and is not a consequence itself.
    """
    grounds = {result.id: result.entry.rests_on for result in results}
    broken = {result.id: result for result in results if result.status in (Status.FAILED, Status.WARNED)}
    followers: dict[str, list[Result]] = {}
    for result in broken.values():
        root = next(
            (g for g in _below(result.id, grounds) if g in broken and not _broken_below(g, grounds, broken)), None
        )
        followers.setdefault(root or result.id, []).append(result)
    found = [
        Cause(root=broken[root], consequences=tuple(result for result in group if result.id != root))
        for root, group in followers.items()
    ]
    return tuple(sorted(found, key=lambda cause: (cause.root.status is not Status.FAILED, -len(cause.consequences))))


def follows(results: Sequence[Result]) -> dict[str, str]:
    """Returns, for the id of each consequence, the id of its cause."""
    return {result.id: cause.root.id for cause in causes(results) for result in cause.consequences}


def _below(behaviour_id: str, grounds: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns everything that a behaviour rests on, the nearest first."""
    known: dict[str, None] = {}
    layer = list(grounds.get(behaviour_id, ()))
    while layer:
        known |= dict.fromkeys(layer)
        layer = [g for each in layer for g in grounds.get(each, ()) if g not in known]
    return list(known)


def _broken_below(behaviour_id: str, grounds: Mapping[str, Sequence[str]], broken: Collection[str]) -> bool:
    return any(ground in broken for ground in _below(behaviour_id, grounds))


def judge(results: Sequence[Result], *, strict: bool = False, tolerated: Collection[str] = ()) -> Verdict:
    """Returns the verdict: a broken MUST decides, then a MUST that could not be judged, or that nothing was judged.

    With `strict` a broken SHOULD counts like a MUST. Results whose id is in `tolerated` count as judged, but do not
    decide.
    """
    counting = [result for result in results if result.id not in tolerated]
    statuses = {result.status for result in counting}
    if Status.FAILED in statuses or (strict and Status.WARNED in statuses):
        return Verdict.NON_CONFORMANT
    undecided = any(result.status is Status.ERROR and _counts(result, strict) for result in counting)
    if undecided or not any(result.status in JUDGED for result in results):
        return Verdict.INCONCLUSIVE
    return Verdict.CONFORMANT


def _counts(result: Result, strict: bool) -> bool:
    return result.entry.level is Level.MUST or (strict and result.entry.level is Level.SHOULD)
