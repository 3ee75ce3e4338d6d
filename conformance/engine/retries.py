"""The reasons to judge a behaviour again, how often each allows that, and what is remembered from earlier attempts.

Pure functions and frozen values: `judge.py` confirms the reasons, and leases other machines.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from conformance.core.errors import Disturbed, KitTooSlow, NotObserved, SeenOnce, Unprepared, Violation
from conformance.results.result import Result, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.rpc.backoff import OverloadTracker
    from conformance.rpc.call import Call


class RetryReason(Enum):
    """The reasons to judge a behaviour again: the result of the attempt may say nothing about the provider."""

    BAD_MACHINE = auto()
    """A leased machine could not be prepared, and was removed from the pool."""
    FAILED_MACHINE = auto()
    """A leased machine ended in FAILED, which the contract allows for any transition (FLT-1)."""
    GIVEN_UP = auto()
    """A Configure was given up: the machine was IDLE again, which the contract allows (FLT-1)."""
    INTERFERENCE = auto()
    """A machine changed its state by itself: another client caused that, or the provider."""
    OTHER_CLIENT = auto()
    """Another client is known to use the provider, and may have caused the result."""
    OVERLOAD = auto()
    """The provider rejected calls for load."""
    LOST_CONNECTION = auto()
    """A connection ended before an answer came."""
    KIT_TOO_SLOW = auto()
    """The kit's own calls came too late: it is judged again when nothing else runs."""
    SEEN_ONCE = auto()
    """A finding counts only if it is seen again, on another machine."""
    FAULT = auto()
    """The run's own fault injection dropped answers that the behaviour needs."""


MAX_ATTEMPTS: Final[Mapping[RetryReason, int]] = {
    RetryReason.BAD_MACHINE: 3,
    # A transition may fail at any time, but not every transition: see MAX_FAILURES_IN_A_ROW.
    RetryReason.FAILED_MACHINE: 6,
    RetryReason.GIVEN_UP: 6,
    # The last attempt blames the provider: if the machine still changes by itself, the provider does it.
    RetryReason.INTERFERENCE: 3,
    # A conformant provider can have these three times in a row.
    RetryReason.OTHER_CLIENT: 6,
    RetryReason.OVERLOAD: 6,
    RetryReason.LOST_CONNECTION: 6,
    RetryReason.KIT_TOO_SLOW: 5,
    RetryReason.SEEN_ONCE: 3,
    # Injected faults hit at random calls, and are never caused by the provider.
    RetryReason.FAULT: 40,
}
"""The maximum number of attempts of a behaviour, by the reason for the next attempt."""

RETRY_AFTER_PAUSE: Final = (RetryReason.OVERLOAD, RetryReason.LOST_CONNECTION)
"""The provider may behave differently when it has less to do. A violation seen meanwhile still counts."""
CHANGES: Final = (RetryReason.INTERFERENCE, RetryReason.OTHER_CLIENT)
"""After enough of these the provider is blamed, which attempts that ended for other reasons do not justify."""
NOT_COUNTED: Final = (RetryReason.INTERFERENCE, RetryReason.OTHER_CLIENT, RetryReason.FAULT)
"""An attempt whose body never began is not counted for these: it only takes time, which has its own limit."""
NOT_WAITED_FOR: Final = (RetryReason.BAD_MACHINE, RetryReason.FAILED_MACHINE, RetryReason.SEEN_ONCE)
"""The machine is lost to the run, or another one is needed. Another attempt waits for other machines only if a
behaviour has leased some."""
NOT_TIMED: Final = (RetryReason.KIT_TOO_SLOW, RetryReason.FAILED_MACHINE, RetryReason.GIVEN_UP)
"""Another attempt is made however long the earlier ones took: a behaviour for which the kit was too slow waits until
everything else is over, and a transition that fails each time is a violation only after all attempts."""
NEEDS_EVIDENCE: Final = MappingProxyType(
    {
        RetryReason.FAILED_MACHINE: "its machine ended in FAILED",
        RetryReason.GIVEN_UP: "a Configure was given up",
        RetryReason.OTHER_CLIENT: "another client may have caused what was seen",
    }
)
"""The reasons that may explain a violation completely: it counts only if it was seen in all attempts that the reason
allows. The text is part of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a behaviour."""

    number: int
    result: Result
    began: bool
    """True if the machines could be prepared, so that the body ran."""
    suspected: tuple[RetryReason, ...]
    """The reasons for which another attempt may end differently, most likely first. Some must be confirmed by calls."""

    def counts(self, reason: RetryReason) -> bool:
        """Returns whether the attempt counts for the limit of a reason."""
        return self.began or reason not in NOT_COUNTED


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Facts from earlier attempts at a behaviour that the next attempt needs."""

    attempt: int = 1
    """The number of the next attempt."""
    since: float | None = None
    """The end of the first attempt, on the run's clock; None before that."""
    violation: Result | None = None
    """A violation of an overloaded provider. A later inconclusive attempt does not cancel it."""
    counts: Mapping[RetryReason, int] = field(default_factory=dict)
    """The numbers of earlier attempts that count, by the reason for the next one."""

    def tried(self, reason: RetryReason) -> int:
        """Returns the number of earlier attempts that count for the limit of a reason.

        Each reason has its own count: what an attempt shows for the first time was not seen more often because
        earlier attempts ended for other reasons. Only the two kinds of changes have one count together.
        """
        return sum(self.counts.get(each, 0) for each in (CHANGES if reason in CHANGES else (reason,)))

    def after(self, attempt: Attempt, reason: RetryReason, *, now: float) -> History:
        """Returns the history for another attempt after this one, which ended at `now`, for the given reason."""
        counts = attempt.counts(reason)
        seen = reason in RETRY_AFTER_PAUSE and attempt.result.status in (Status.FAILED, Status.WARNED)
        return History(
            attempt=attempt.number + counts,
            since=now if self.since is None else self.since,
            violation=attempt.result if seen else self.violation,
            counts={**self.counts, reason: self.counts.get(reason, 0) + counts},
        )


def classify(
    error: Exception | None,
    status: Status,
    calls: Sequence[Call],
    *,
    overload: OverloadTracker,
    slots: bool,
    quarantined: bool,
    failed: bool = False,
    given_up: bool = False,
) -> tuple[RetryReason, ...]:
    """Returns the reasons for which another attempt may end differently, most likely first.

    `slots`: the behaviour reads slots, which no claim protects. `quarantined`: one of its machines was removed from the
    pool. `failed`: one of them ended in FAILED. `given_up`: a Configure of one of them was given up.
    """
    if isinstance(error, Disturbed):
        return RetryReason.OTHER_CLIENT, RetryReason.INTERFERENCE
    if isinstance(error, SeenOnce):
        return (RetryReason.SEEN_ONCE,)
    reasons = [RetryReason.KIT_TOO_SLOW] if isinstance(error, KitTooSlow) else []
    if (overload_reason := _overload_reason(error, calls, overload)) is not None:
        reasons.append(overload_reason)
    if status is Status.ERROR or (slots and status in (Status.FAILED, Status.WARNED)):
        # Between two reads, another client may take and return a slot; or its call, which is not legal for a slot, may
        # reach a machine that this run has started meanwhile.
        reasons.append(RetryReason.OTHER_CLIENT)
    if quarantined and isinstance(error, Unprepared):
        reasons.append(RetryReason.BAD_MACHINE)
    if failed and isinstance(error, (Violation, Unprepared, NotObserved)):
        reasons.append(RetryReason.FAILED_MACHINE)
    if given_up and isinstance(error, (Violation, Unprepared, NotObserved)):
        reasons.append(RetryReason.GIVEN_UP)
    return tuple(reasons)


def _overload_reason(error: Exception | None, calls: Sequence[Call], overload: OverloadTracker) -> RetryReason | None:
    """Returns OVERLOAD or LOST_CONNECTION if that may have caused the error; None otherwise."""
    # If the provider rejects a large share of calls, the rejections count as its answer.
    busy = overload.tolerable and any(call.answered_busy for call in calls)
    match error:
        case Violation() if busy:
            return RetryReason.OVERLOAD
        # A caller that closed early does not see the rejection, only that the call had no effect.
        case Unprepared() | NotObserved() if any(call.cut_off for call in calls):
            return RetryReason.LOST_CONNECTION
        case Unprepared() | NotObserved() if busy or (overload.tolerable and overload.rejected > 0):
            return RetryReason.OVERLOAD
        case _:
            return None


def without_evidence(result: Result, reason: RetryReason) -> Result:
    """Returns the result of the last possible attempt if `reason` would have allowed more of them.

    A violation that the reason may explain is not judged.
    """
    if reason not in NEEDS_EVIDENCE or result.status not in (Status.FAILED, Status.WARNED):
        return result
    why = f"not judged: {NEEDS_EVIDENCE[reason]}, and it could not be tried again ({result.reason})"
    return replace(result, status=Status.ERROR, reason=why, wanted="", got="", decisive=())
