"""Judges one behaviour on its leased machines: prepares them, runs the body, and decides whether to try again.

`perform -> classify -> result or again`: an attempt is a frozen value that carries the suspected reasons for another
attempt; the reason that is confirmed decides by MAX_ATTEMPTS how often that may happen.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from conformance.core.errors import (
    ConformanceError,
    Disturbed,
    NoAnswer,
    NotObserved,
    Unprepared,
    Unsupported,
    Violation,
)
from conformance.core.lifecycle import State, Verb
from conformance.fleet.machine import Policy
from conformance.results import events
from conformance.results.result import BROKEN, Result, Status
from conformance.rpc.call import CLOCK_DECIMALS, CallLog, recording
from conformance.testkit.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conformance.core.catalogue import Entry
    from conformance.fleet.context import FleetContext
    from conformance.fleet.needs import WatchedEdges
    from conformance.fleet.pool import Lease, Pool
    from conformance.results.target_info import TargetInfo
    from conformance.rpc.backoff import OverloadTracker
    from conformance.rpc.call import Call
    from conformance.testkit.behaviour import Behaviour
    from conformance.testkit.observations import Recording


class RetryReason(Enum):
    """Why the result of an attempt may say nothing about the provider, so that the behaviour is judged again."""

    BAD_MACHINE = auto()
    """A leased machine could not be prepared, and was taken out of the pool."""
    INTERFERENCE = auto()
    """A machine moved by itself: another client did it, or the provider."""
    OTHER_CLIENT = auto()
    """Another client is known to use the provider, and may have caused what was seen."""
    OVERLOAD = auto()
    """The provider turned calls away."""
    LOST_CONNECTION = auto()
    """A connection ended before an answer came."""
    FAULT = auto()
    """The run's own fault injection dropped answers that the behaviour needs."""


MAX_ATTEMPTS: Final[Mapping[RetryReason, int]] = {
    RetryReason.BAD_MACHINE: 3,
    # The last of these is held against the provider: a machine that still moves is moved by it.
    RetryReason.INTERFERENCE: 3,
    # These may well happen three times in a row to a provider that conforms.
    RetryReason.OTHER_CLIENT: 6,
    RetryReason.OVERLOAD: 6,
    RetryReason.LOST_CONNECTION: 6,
    # Injected faults hit at random, and are never the provider's doing.
    RetryReason.FAULT: 40,
}
"""How many attempts a behaviour gets in all, by the reason for the next one."""

NEEDS_RESPITE: Final = (RetryReason.OVERLOAD, RetryReason.LOST_CONNECTION)
"""The provider may behave differently when it has less to do. A violation seen meanwhile still counts."""
NOT_COUNTED: Final = (RetryReason.INTERFERENCE, RetryReason.OTHER_CLIENT, RetryReason.FAULT)
"""An attempt whose body never began is not counted for these: it only took time, which has a limit of its own."""
RESPITE: Final = 0.5
"""Seconds, times the number of the attempt, before a provider that had too much to do is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a behaviour."""

    number: int
    result: Result
    began: bool
    """Whether the machines could be prepared, so that the body ran."""
    suspected: tuple[RetryReason, ...]
    """Why another attempt may end otherwise, most likely first. Some reasons have to be confirmed at the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What earlier attempts at a behaviour have left for the next one."""

    attempt: int = 1
    """The number of the next attempt."""
    since: float | None = None
    """When the first attempt had to be repeated, on the run's clock; None if none had."""
    violation: Result | None = None
    """A violation that an overloaded provider showed. A later attempt that tells nothing does not cancel it."""


class Judge:
    """Judges behaviours, one at a time or many together."""

    def __init__(
        self,
        pool: Pool,
        yard: FleetContext,
        found: TargetInfo,
        *,
        seed: int,
        examples: int,
        fence_scope: str | None,
        emit: Callable[[events.Event], None],
    ) -> None:
        self._pool, self._yard, self._found = pool, yard, found
        self._seed, self._examples, self._fence_scope = seed, examples, fence_scope
        self._emit = emit
        self.passages: dict[WatchedEdges, Recording] = {}
        """The lifecycles recorded so far, for all behaviours that watch the same edges."""
        self._histories: dict[str, History] = {}
        self._other_client = False
        """Whether machines live that this run never touched."""

    async def judge(self, behaviour: Behaviour, lease: Lease) -> tuple[Result | None, Lease]:
        """Returns the result and the lease to release, which differs from `lease` if other machines were tried.

        The result is None if the machines are taken and no others can be leased now: judge the behaviour later.
        """
        while True:
            history = self._histories.get(behaviour.id, History())
            attempt = await self._perform(behaviour, lease, history.attempt)
            if attempt.result.status is Status.ERROR and history.violation is not None:
                return history.violation, lease
            reason = await self._confirmed(attempt)
            following = self._following(behaviour, history, attempt, reason) if reason else None
            if reason is None or following is None:
                return attempt.result, lease
            self._histories[behaviour.id] = following
            other = await self._exchange(behaviour, lease, attempt, reason)
            if other is None:
                return attempt.result if reason is RetryReason.BAD_MACHINE else None, lease
            lease = other

    async def _confirmed(self, attempt: Attempt) -> RetryReason | None:
        """Returns the first suspected reason for another attempt that holds; None if none does."""
        for reason in attempt.suspected:
            match reason:
                case RetryReason.OVERLOAD | RetryReason.LOST_CONNECTION:
                    # If the target does not answer at all, it is gone, and another attempt would not help.
                    holds = (await self._yard.client.list(cap=1)).answered
                case RetryReason.OTHER_CLIENT:
                    holds = await self._sees_other_client()
                case _:
                    holds = True
            if holds:
                return reason
        return None

    def _following(
        self, behaviour: Behaviour, history: History, attempt: Attempt, reason: RetryReason
    ) -> History | None:
        """Returns the history with which the next attempt begins; None if there is to be none."""
        counts = attempt.began or reason not in NOT_COUNTED
        if (counts and attempt.number >= self._limit(reason)) or self._pool.unavailable_reason(behaviour.needs):
            return None
        now = self._yard.client.now()
        since = now if history.since is None else history.since
        if now - since > self._yard.patience.longest:
            return None
        seen = reason in NEEDS_RESPITE and attempt.result.status in (Status.FAILED, Status.WARNED)
        violation = attempt.result if seen else history.violation
        return History(attempt=attempt.number + counts, since=since, violation=violation)

    async def _exchange(
        self, behaviour: Behaviour, lease: Lease, attempt: Attempt, reason: RetryReason
    ) -> Lease | None:
        """Returns machines for another attempt in place of `lease`; None if there are none now."""
        await self._pool.release(lease, wanted=set(behaviour.needs.starts))
        if reason in NEEDS_RESPITE:
            await asyncio.sleep(RESPITE * attempt.number)
        return self._pool.lease(behaviour.needs)

    def _limit(self, reason: RetryReason) -> int:
        """Returns how many attempts a behaviour gets. What is so for the whole run raises the limit of each reason."""
        reasons = {reason}
        if self._yard.client.faults is not None:
            reasons.add(RetryReason.FAULT)
        if self._other_client or self._pool.lost_claim:
            reasons.add(RetryReason.OTHER_CLIENT)
        return max(MAX_ATTEMPTS[each] for each in reasons)

    async def _sees_other_client(self) -> bool:
        """Returns whether another client is active: it took a slot first, or machines live that we never touched."""
        if self._other_client or self._pool.lost_claim:
            return True
        listing = await self._yard.client.list([state for state in State if state > State.SPECULATIVE])
        self._other_client = listing.ok and any(m.id not in self._pool.touched for m in listing.response.machines)
        return self._other_client

    async def _perform(self, behaviour: Behaviour, lease: Lease, number: int) -> Attempt:
        """Prepares the machines, runs the body, and returns how that ended."""
        client, log = self._yard.client, CallLog(frozenset(m.id for m in lease.machines))
        started, began, ids = client.now(), False, tuple[str, ...]()
        error: Exception | None = None
        with recording(log):
            try:
                await self._pool.prepare(lease)
                started, began, ids = client.now(), True, self._machines(behaviour, lease)
                self._emit(events.BehaviourStarted(id=behaviour.id, at=started, machines=ids))
                await self._run(behaviour, lease, number)
            except Exception as raised:
                error = raised
        violation = next((m.violation for m in lease.machines if m.violation is not None), None) if began else None
        error = _weightiest(error, violation, behaviour.entry)
        if error is None and client.overload.why_unreliable:
            error = NoAnswer(client.overload.why_unreliable)
        undecided = error is not None and not isinstance(error, Unsupported)
        dropped = undecided and log.unanswered > 0 and client.may_have_dropped_since(started)
        if dropped:
            error = Disturbed(f"fault injection dropped {log.unanswered} responses that this behaviour needs")
        status, reason, wanted, got = outcome(behaviour.entry, error)
        reasons = classify(
            error,
            status,
            log.calls,
            overload=client.overload,
            slots=behaviour.needs.uses_slots,
            quarantined=any(m.id in self._pool.quarantined for m in lease.machines),
        )
        result = Result(
            entry=behaviour.entry,
            status=status,
            reason=reason,
            wanted=wanted,
            got=got,
            started=started,
            seconds=round(client.now() - started, CLOCK_DECIMALS),
            machines=ids,
            calls=tuple(log.calls),
            decisive=decisive(error, log.calls),
        )
        return Attempt(
            number=number, result=result, began=began, suspected=(RetryReason.FAULT,) if dropped else reasons
        )

    def _machines(self, behaviour: Behaviour, lease: Lease) -> tuple[str, ...]:
        """Returns the ids of the machines that are judged: the leased ones, or the one of a recorded lifecycle."""
        seen = self.passages.get(behaviour.needs.watches) if not lease.machines else None
        return (seen.machine,) if seen is not None else tuple(m.id for m in lease.machines)

    async def _run(self, behaviour: Behaviour, lease: Lease, number: int) -> None:
        """Runs the body."""
        trial = Trial(
            behaviour.entry,
            lease.machines,
            context=self._yard,
            pool=self._pool,
            found=self._found,
            seed=self._seed,
            examples=self._examples,
            fence_scope=self._fence_scope,
            attempt=number,
            watches=behaviour.needs.watches,
            recordings=self.passages,
        )
        for machine in lease.machines:
            # If the machines of all earlier attempts moved "by themselves", it is the provider that moves them.
            blames = number >= self._limit(RetryReason.INTERFERENCE)
            machine.policy = Policy(blames_provider=blames, drop_responses=frozenset(Verb))
            machine.violation = None
        try:
            await behaviour.body(trial)
        finally:
            for machine in lease.machines:
                machine.policy = Policy()


def _weightiest(error: Exception | None, violation: Violation | None, entry: Entry) -> Exception | None:
    """Returns what a behaviour ends with: the body's error, or a violation that a retry of a call has shown.

    A violation that the body found itself comes first, unless the other one is about the clause that is judged.
    """
    if violation is None or (isinstance(error, Violation) and entry.clause.id not in violation.clauses):
        return error
    return violation


def classify(
    error: Exception | None,
    status: Status,
    calls: Sequence[Call],
    *,
    overload: OverloadTracker,
    slots: bool,
    quarantined: bool,
) -> tuple[RetryReason, ...]:
    """Returns why another attempt may end otherwise, most likely first, from what happened in this one.

    `slots`: the behaviour looks at slots, which no claim protects. `quarantined`: one of its machines was taken out of
    the pool.
    """
    if isinstance(error, Disturbed):
        return RetryReason.OTHER_CLIENT, RetryReason.INTERFERENCE
    reasons = []
    if (strain := _strain(error, calls, overload)) is not None:
        reasons.append(strain)
    if status is Status.ERROR or (slots and status in (Status.FAILED, Status.WARNED)):
        # Another client may take a slot and give it back between two looks, or send a call that has no edge from a
        # slot and meet a machine that we have started meanwhile.
        reasons.append(RetryReason.OTHER_CLIENT)
    if quarantined and isinstance(error, Unprepared):
        reasons.append(RetryReason.BAD_MACHINE)
    return tuple(reasons)


def _strain(error: Exception | None, calls: Sequence[Call], overload: OverloadTracker) -> RetryReason | None:
    """Returns whether the provider had too much to do, or lost a connection, so that it may have ended in this way."""
    # If the provider turns away a large share of calls, that is its answer.
    busy = overload.tolerable and any(call.busy for call in calls)
    match error:
        case Violation() if busy:
            return RetryReason.OVERLOAD
        # A caller that closed early does not see its call turned away, only that nothing came of it.
        case Unprepared() | NotObserved() | NoAnswer() if busy or (overload.tolerable and overload.rejected > 0):
            return RetryReason.OVERLOAD
        case Unprepared() | NotObserved() | NoAnswer() if any(call.cut_off for call in calls):
            return RetryReason.LOST_CONNECTION
        case _:
            return None


def decisive(error: Exception | None, calls: Sequence[Call]) -> tuple[int, ...]:
    """Returns the indices of the calls that show a violation: those that it names, or else the last one.

    If the fence is judged, the call that set the mark is one of them: the shard's newest token that had passed.
    """
    if not isinstance(error, Violation) or not calls:
        return ()
    named = {call.number for call in error.calls}
    shown = {n for n, call in enumerate(calls) if call.number in named} or {len(calls) - 1}
    first = min(shown)
    if "fence" in error.wanted and (token := calls[first].token) is not None:
        passed = [(numbers, n) for n in range(first) if (numbers := _passed(calls[n], token.shard))]
        shown |= {n for _, n in sorted(passed)[-1:]}
    return tuple(sorted(shown))


def _passed(call: Call, shard: str) -> tuple[int, int] | None:
    """Returns the numbers of the shard's token if the fence accepted this call; None for any other call."""
    token = call.token
    return token.numbers if token is not None and token.shard == shard and call.answered and not call.fenced else None


def outcome(entry: Entry, error: Exception | None) -> tuple[Status, str, str, str]:
    """Returns status, reason, wanted and got for what a body raised, if anything."""
    match error:
        case None:
            return Status.PASSED, "", "", ""
        case Violation() if error.clauses and entry.clause.id not in error.clauses:
            return Status.ERROR, f"{error.message}; {' and '.join(error.clauses)} judge that", "", ""
        case Violation():
            return BROKEN[entry.level], f"{entry.clause.id}: {error.message}", error.wanted, error.got
        case Unsupported():
            return Status.SKIPPED, str(error), "", ""
        case ConformanceError():
            return Status.ERROR, str(error), "", ""
        case _:
            return Status.ERROR, f"the kit itself failed: {type(error).__name__}: {error}", "", ""
