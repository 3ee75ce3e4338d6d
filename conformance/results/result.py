"""Results of behaviours, and the verdict on a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from conformance.core.catalogue import Level

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
