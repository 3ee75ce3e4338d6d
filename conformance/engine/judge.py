"""Judges one behaviour on its leased machines: prepares them, runs the body, and decides whether to try again.

`perform -> classify -> result or retry`: an attempt is a frozen value with the suspected reasons for another attempt;
the confirmed reason determines the maximum number of attempts (MAX_ATTEMPTS).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from conformance.core.errors import (
    ConformanceError,
    Disturbed,
    NoAnswer,
    NotObserved,
    SeenOnce,
    Undecided,
    Unsupported,
    Violation,
)
from conformance.core.lifecycle import State, Verb
from conformance.core.open_files import TOO_MANY_FILES, explain_open_files
from conformance.engine.retries import (
    MAX_ATTEMPTS,
    NOT_TIMED,
    NOT_WAITED_FOR,
    RETRY_AFTER_PAUSE,
    Attempt,
    History,
    RetryReason,
    classify,
    without_evidence,
)
from conformance.fleet.policy import Policy
from conformance.fleet.pool import MAX_FAILURES_IN_A_ROW
from conformance.results import events
from conformance.results.result import BROKEN, Result, Status
from conformance.rpc.call import CLOCK_DECIMALS, CallLog, recording
from conformance.rpc.connection import private_connection
from conformance.testkit.trial import Trial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from conformance.core.catalogue import Entry
    from conformance.fleet.context import FleetContext
    from conformance.fleet.needs import RecordingKey
    from conformance.fleet.pool import Lease, Pool
    from conformance.results.target_info import TargetInfo
    from conformance.rpc.call import Call
    from conformance.testkit.behaviour import Behaviour
    from conformance.testkit.hold import Hold
    from conformance.testkit.observations import Recorded


INTERRUPTED_AT_ONCE: Final = (4, 2, 1)
"""Maximum numbers of behaviours that are judged at once after one, two, and more lost connections. A server may close
each connection after a number of calls, which the interrupted behaviours would reach again together."""
PAUSE_SECONDS: Final = 0.5
"""The pause before an overloaded provider is judged again, multiplied by the number of the attempt."""


class Judge:
    """Judges behaviours, one at a time or many together."""

    def __init__(
        self,
        pool: Pool,
        context: FleetContext,
        found: TargetInfo,
        *,
        seed: int,
        examples: int,
        fence_scope: str | None,
        hold: Hold,
        emit: Callable[[events.Event], None],
    ) -> None:
        self._pool, self._context, self._found = pool, context, found
        self._seed, self._examples, self._fence_scope = seed, examples, fence_scope
        self._hold = hold
        self._emit = emit
        self.recordings: dict[RecordingKey, Recorded] = {}
        """The recordings that were made up to now, each for all behaviours that judge it."""
        self.too_slow: set[str] = set()
        """The ids of the behaviours for which the kit was too slow. They must be judged when nothing else runs."""
        self.seen_once: dict[str, Result] = {}
        """The results, by behaviour, that stand if there is no machine to see a finding again."""
        self._histories: dict[str, History] = {}
        self._other_client = False
        """True if machines are alive that this run never touched."""
        self._turns = [asyncio.Semaphore(limit) for limit in INTERRUPTED_AT_ONCE]
        self._failed_in_a_row = 0
        """The number of attempts in a row, of all behaviours that drive a machine, in which one ended in FAILED."""

    async def judge(self, behaviour: Behaviour, lease: Lease) -> tuple[Result | None, Lease]:
        """Returns the result and the lease to release, which differs from `lease` if other machines were tried.

        Returns None as the result if another attempt is needed and no machines can be leased now: judge it later.
        """
        while True:
            history = self._histories.get(behaviour.id, History())
            async with self._turn(history):
                attempt = await self._perform(behaviour, lease, history)
            undecided = attempt.result.status is Status.ERROR
            result = history.violation if undecided and history.violation is not None else attempt.result
            reason = await self._confirmed_reason(attempt)
            if reason is None or self._used_up(history, attempt, reason):
                return result, lease
            if not self._may_try_again(behaviour, history, reason):
                return without_evidence(result, reason), lease
            self._histories[behaviour.id] = history.after(attempt, reason, now=self._context.client.now())
            if reason is RetryReason.SEEN_ONCE:
                self.seen_once[behaviour.id] = result
            other = await self._lease_again(behaviour, lease, attempt, reason)
            if other is None and reason is RetryReason.KIT_TOO_SLOW:
                self.too_slow.add(behaviour.id)
                return None, lease
            if other is None:
                final = reason in NOT_WAITED_FOR and not self._pool.in_use
                return without_evidence(result, reason) if final else None, lease
            lease = other

    @asynccontextmanager
    async def _turn(self, history: History) -> AsyncIterator[None]:
        """Waits for the turn of an interrupted behaviour, and gives it a connection of its own."""
        interruptions = history.tried(RetryReason.LOST_CONNECTION)
        if not interruptions:
            yield
            return
        async with self._turns[min(interruptions, len(self._turns)) - 1]:
            with private_connection():
                yield

    async def _confirmed_reason(self, attempt: Attempt) -> RetryReason | None:
        """Returns the first suspected reason that is confirmed; None if no reason is."""
        for reason in attempt.suspected:
            match reason:
                case RetryReason.OVERLOAD | RetryReason.LOST_CONNECTION:
                    # If the target does not answer at all, it is gone, and another attempt would not help.
                    confirmed = (await self._context.client.list(cap=1)).answered
                case RetryReason.OTHER_CLIENT:
                    confirmed = await self._sees_other_client()
                case RetryReason.FAILED_MACHINE:
                    # Each failed machine may cost money: no more of them if the provider always fails.
                    confirmed = self._failed_in_a_row < MAX_FAILURES_IN_A_ROW
                case _:
                    confirmed = True
            if confirmed:
                return reason
        return None

    def _used_up(self, history: History, attempt: Attempt, reason: RetryReason) -> bool:
        """Returns whether this was the last attempt that the reason allows, so that its result counts."""
        return attempt.counts(reason) and history.tried(reason) + 1 >= self._limit(reason)

    def _may_try_again(self, behaviour: Behaviour, history: History, reason: RetryReason) -> bool:
        """Returns whether there is time for another attempt, and whether there can be machines for it."""
        if self._pool.unavailable_reason(behaviour.needs):
            return False
        if history.since is None or reason in NOT_TIMED:
            return True
        tried = self._context.client.now() - history.since - self._hold.waited
        return tried <= self._context.patience.longest

    async def _lease_again(
        self, behaviour: Behaviour, lease: Lease, attempt: Attempt, reason: RetryReason
    ) -> Lease | None:
        """Returns a lease for another attempt in place of `lease`; None if it cannot be met now."""
        await self._pool.release(lease, wanted=set(behaviour.needs.starts))
        if reason is RetryReason.KIT_TOO_SLOW:
            return None
        if reason in RETRY_AFTER_PAUSE:
            await asyncio.sleep(PAUSE_SECONDS * attempt.number)
        return self._pool.lease(behaviour.needs)

    def _limit(self, reason: RetryReason) -> int:
        """Returns the maximum number of attempts. Injected faults and other clients raise the limit of every reason."""
        reasons = {reason}
        if self._context.client.faults is not None:
            reasons.add(RetryReason.FAULT)
        if self.other_client_seen:
            reasons.add(RetryReason.OTHER_CLIENT)
        return max(MAX_ATTEMPTS[each] for each in reasons)

    @property
    def other_client_seen(self) -> bool:
        """True if another client has been seen to be active."""
        return self._other_client or self._pool.lost_claim

    async def _sees_other_client(self) -> bool:
        """Returns whether another client is active: it took a slot first, or drives machines that we never touched."""
        if self.other_client_seen:
            return True
        listing = await self._context.client.list([state for state in State if state > State.SPECULATIVE])
        self._other_client = listing.answered_ok and any(
            m.id not in self._pool.touched for m in listing.response.machines
        )
        return self._other_client

    async def _perform(self, behaviour: Behaviour, lease: Lease, history: History) -> Attempt:
        """Prepares the machines, runs the body, and returns the attempt."""
        client, log = self._context.client, CallLog(frozenset(m.id for m in lease.machines))
        started, began, ids = client.now(), False, tuple[str, ...]()
        error: Exception | None = None
        given_up = 0
        with recording(log):
            try:
                await self._pool.prepare(lease)
                started, began, ids = client.now(), True, self._machines(behaviour, lease)
                given_up = _given_up(lease)
                self._emit(events.BehaviourStarted(id=behaviour.id, at=started, machines=ids))
                await self._run(behaviour, lease, history)
            except Exception as raised:
                error = raised
        if began and isinstance(error, (Violation, NotObserved)):
            await _look_at_unsettled(lease)
        violation = next((m.violation for m in lease.machines if m.violation is not None), None) if began else None
        error = _decisive_error(error, violation, behaviour.entry)
        if error is None and client.overload.why_unreliable:
            error = NoAnswer(client.overload.why_unreliable)
        dropped = bool(log.unanswered) and client.may_have_dropped_since(started)
        if dropped:
            error = Disturbed(f"fault injection dropped {len(log.unanswered)} responses that this behaviour needs")
        elif log.unanswered:
            error = _not_evidence(error, log.unanswered)
        status, reason, wanted, got = outcome(behaviour.entry, error)
        # After a kill, a transition may fail or be undone (DUR-3): that explains no violation.
        explains = began and not (behaviour.needs.restarts and isinstance(error, Violation))
        failed = explains and any(m.state is State.FAILED and not m.failure_expected for m in lease.machines)
        if failed:
            self._failed_in_a_row += 1
        elif began and behaviour.needs.transitions:
            self._failed_in_a_row = 0
        reasons = classify(
            error,
            status,
            log.calls,
            overload=client.overload,
            slots=behaviour.needs.uses_slots,
            quarantined=any(m.id in self._pool.quarantined for m in lease.machines),
            failed=failed,
            given_up=explains and _given_up(lease) > given_up,
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
            decisive=decisive_calls(error, log.calls),
        )
        return Attempt(
            number=history.attempt, result=result, began=began, suspected=(RetryReason.FAULT,) if dropped else reasons
        )

    def _machines(self, behaviour: Behaviour, lease: Lease) -> tuple[str, ...]:
        """Returns the ids of the machines that are judged: the leased ones, or those of a recording."""
        recorded = self.recordings.get(behaviour.needs.recording) if not lease.machines else None
        return recorded.machines if recorded is not None else tuple(m.id for m in lease.machines)

    async def _run(self, behaviour: Behaviour, lease: Lease, history: History) -> None:
        """Runs the body."""
        trial = Trial(
            behaviour.entry,
            lease.machines,
            context=self._context,
            pool=self._pool,
            found=self._found,
            seed=self._seed,
            examples=self._examples,
            fence_scope=self._fence_scope,
            hold=self._hold,
            attempt=history.attempt,
            late=history.tried(RetryReason.KIT_TOO_SLOW) > 0,
            watches=behaviour.needs.watches,
            recordings=self.recordings,
            lease=lease,
        )
        for machine in lease.machines:
            # If machines changed by themselves in this many attempts before the last one, the provider changes them.
            # So does one that was just restarted, unless another client is known to be active.
            limit = self._limit(RetryReason.INTERFERENCE)
            restarted = behaviour.needs.restarts and not self.other_client_seen
            blames = restarted or history.tried(RetryReason.INTERFERENCE) + 1 >= limit
            machine.policy = Policy(blames_provider=blames, drop_responses=frozenset(Verb))
            machine.violation = None
        try:
            await behaviour.body(trial)
        finally:
            for machine in lease.machines:
                machine.policy = Policy()
            if behaviour.needs.restarts and self._context.restarts is not None:
                await self._context.restarts.ensure_serving()


def _given_up(lease: Lease) -> int:
    """Returns the number of Configures of the leased machines that were given up in this run, and not on purpose."""
    return sum(machine.record.calls.given_up for machine in lease.machines if not machine.failure_expected)


async def _look_at_unsettled(lease: Lease) -> None:
    """Reads each leased machine whose last transition is not known to have ended: it may have failed meanwhile."""
    for machine in lease.machines:
        if machine.record.calls.transition is not None:
            with suppress(ConformanceError):
                await machine.get()


def _not_evidence(error: Exception | None, unanswered: Sequence[Call]) -> Exception:
    """Returns the error of an attempt in which calls were not answered: neither a violation nor a pass counts.

    The calls may have been applied or not, so whatever was seen after them may be right or wrong.
    """
    if isinstance(error, Undecided):
        return error
    first = unanswered[0]
    more = f", and {len(unanswered) - 1} more" if len(unanswered) > 1 else ""
    return NoAnswer(f"{first.rpc} was not answered: {first.outcome()}{more}")


def _decisive_error(error: Exception | None, violation: Violation | None, entry: Entry) -> Exception | None:
    """Returns the error that decides the result: the body's, or a violation that a retry of a call has shown.

    A violation that the body found takes precedence, unless the other one is about the judged clause.
    """
    if violation is None or (isinstance(error, Violation) and entry.clause.id not in violation.clauses):
        return error
    return violation


def decisive_calls(error: Exception | None, calls: Sequence[Call]) -> tuple[int, ...]:
    """Returns the indices of the calls that show a violation: those that it names, or the last one.

    If the fence is judged, they include the call that set the mark: the shard's newest accepted token.
    """
    if not isinstance(error, Violation) or not calls:
        return ()
    named = {call.number for call in error.calls}
    indices = {n for n, call in enumerate(calls) if call.number in named} or {len(calls) - 1}
    first = min(indices)
    if "fence" in error.wanted and (token := calls[first].token) is not None:
        accepted = [(numbers, n) for n in range(first) if (numbers := _accepted_numbers(calls[n], token.shard))]
        indices |= {n for _, n in sorted(accepted)[-1:]}
    return tuple(sorted(indices))


def _accepted_numbers(call: Call, shard: str) -> tuple[int, int] | None:
    """Returns the numbers of the shard's token if the fence accepted this call; None for any other call."""
    token = call.token
    return token.numbers if token is not None and token.shard == shard and call.answered and not call.fenced else None


def outcome(entry: Entry, error: Exception | None) -> tuple[Status, str, str, str]:
    """Returns status, reason, wanted and got for the error that a body raised, or for None."""
    match error:
        case None:
            return Status.PASSED, "", "", ""
        case Violation() if error.clauses and entry.clause.id not in error.clauses:
            return Status.ERROR, f"{error.message}; behaviours of {' and '.join(error.clauses)} judge that", "", ""
        case Violation():
            return BROKEN[entry.level], f"{entry.clause.id}: {error.message}", error.wanted, error.got
        case Unsupported() | SeenOnce():
            return Status.SKIPPED, str(error), "", ""
        case ConformanceError():
            return Status.ERROR, str(error), "", ""
        case OSError() if error.errno in TOO_MANY_FILES:
            return Status.ERROR, explain_open_files(), "", ""
        case _:
            return Status.ERROR, f"the kit itself failed: {type(error).__name__}: {error}", "", ""
