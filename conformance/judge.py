"""One behaviour on its leased machines -> Result: prepare, run the body, name the outcome; again where disturbed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance import events
from conformance.call import DIGITS, CallLog, recording
from conformance.catalogue import Level
from conformance.errors import ConformanceError, Disturbed, NoAnswer, NotObserved, Unprepared, Unsupported, Violation
from conformance.lifecycle import State, Verb
from conformance.machine import Policy
from conformance.report import Result, Status
from conformance.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.behaviour import Behaviour, Watched
    from conformance.call import Call
    from conformance.catalogue import Entry
    from conformance.found import Found
    from conformance.passage import Passage
    from conformance.pool import Lease, Pool
    from conformance.yard import Yard

ATTEMPTS = 3
"""A behaviour that was disturbed, or whose machines could not be prepared, is tried so often in all."""
MANY = 6
"""And so often where what disturbs may well come three times: somebody else is about, load or a connection is shed."""
STORMY = 40
"""And so often in weather of our own making, which takes what it takes and never means the provider."""

RESPITE: Final = 0.5
"""Seconds, times the attempt, that a provider has to itself before it is asked again what it had no time for."""

BROKEN = {Level.MUST: Status.FAILED, Level.SHOULD: Status.WARNED, Level.MAY: Status.SKIPPED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one try ended, and why another one may end otherwise."""

    result: Result
    """It names no machines where the body did not begin."""
    spoilt: bool
    """Other machines could do better."""
    disturbed: bool
    """Somebody else is the reason."""
    doubtful: bool
    """The provider had no time for what would have come to another end, or a connection ended under it."""


class Judge:
    """Judges behaviours, one at a time or many together."""

    def __init__(
        self,
        pool: Pool,
        yard: Yard,
        found: Found,
        *,
        seed: int,
        examples: int,
        fence_scope: str | None,
        emit: Callable[[events.Event], None],
    ) -> None:
        self._pool, self._yard, self._found = pool, yard, found
        self._seed, self._examples, self._fence_scope = seed, examples, fence_scope
        self._emit = emit
        self.passages: dict[Watched, Passage] = {}
        """What was seen so far, for all that watch the same."""
        self._attempts: dict[str, int] = {}
        self._others = False
        """Whether somebody else is known to be about: machines live that we never touched, or a slot was lost."""
        self._disturbed: dict[str, float] = {}
        """When each was disturbed first."""

    async def judge(self, behaviour: Behaviour, lease: Lease) -> tuple[Result | None, Lease]:
        """The result, and the lease that is to be released: another one where the first was spoilt.

        No result where somebody else has the machines and no others can be had now: it is to be judged later.
        """
        seen: Result | None = None
        while True:
            attempt = self._attempts.get(behaviour.id, 1)
            tried = await self._attempt(behaviour, lease, attempt)
            result, spoilt, disturbed = tried.result, tried.spoilt, tried.disturbed
            if result.status is Status.ERROR and seen is not None:
                return seen, lease  # that it came to nothing when it was tried again does not make it undone
            broken = result.status in (Status.FAILED, Status.WARNED)
            unproved = (broken and behaviour.needs.slots) or result.status is Status.ERROR
            doubtful = tried.doubtful and (await self._yard.client.list(cap=1)).answered
            most = max(MANY, self._most) if doubtful else self._most
            if (disturbed or unproved) and await self._somebody_is_about() and attempt < self._most:
                # A slot is nobody's: on a fast provider somebody may take it and give it back between two looks, or ask
                # for something that has no edge from a slot, and meet a machine that we have started meanwhile.
                spoilt = disturbed = True
            # A machine that was somebody else's before anything began is no attempt: it only takes time.
            counts = not (disturbed and behaviour.needs.machines and not result.machines)
            if not (spoilt or doubtful) or (counts and attempt >= most) or self._pool.hopeless(behaviour.needs):
                return result, lease
            now = self._yard.client.now()
            if now - self._disturbed.setdefault(behaviour.id, now) > self._yard.patience.longest:
                return result, lease
            self._attempts[behaviour.id] = attempt + counts
            await self._pool.release(lease, wanted=set(behaviour.needs.starts))
            if doubtful:
                seen = result if broken else None
                await asyncio.sleep(RESPITE * attempt)
            other = self._pool.lease(behaviour.needs)
            if other is None:
                return None if disturbed or doubtful else result, lease
            lease = other

    @property
    def _most(self) -> int:
        if self._yard.client.faults is not None:
            return STORMY
        return MANY if self._others or self._pool.lost else ATTEMPTS

    async def _somebody_is_about(self) -> bool:
        if self._others or self._pool.lost:
            return True
        listing = await self._yard.client.list([state for state in State if state > State.SPECULATIVE])
        self._others = listing.ok and any(m.id not in self._pool.touched for m in listing.response.machines)
        return self._others

    async def _attempt(self, behaviour: Behaviour, lease: Lease, attempt: int) -> Attempt:
        log, clock = CallLog(frozenset(m.id for m in lease.machines)), self._yard.client.now
        started, spoilt, ids = clock(), False, tuple[str, ...]()
        error: Exception | None = None
        with recording(log):
            try:
                await self._pool.prepare(lease)
                started = clock()
                seen = self.passages.get(behaviour.needs.watches) if not lease.machines else None
                ids = (seen.machine,) if seen is not None else tuple(m.id for m in lease.machines)
                self._emit(events.BehaviourStarted(id=behaviour.id, at=started, machines=ids))
                await self._run(behaviour, lease, attempt)
            except Disturbed as disturbed:
                error, spoilt = disturbed, True
            except Unprepared as unprepared:
                # The pool has taken out what could not be prepared; what the body itself could not drive stays in.
                error, spoilt = unprepared, any(m.id in self._pool.quarantined for m in lease.machines)
            except Exception as raised:
                error = raised
        violation = next((m.violation for m in lease.machines if m.violation is not None), None) if ids else None
        if violation is not None and (
            behaviour.entry.clause.id in violation.clauses or not isinstance(error, Violation)
        ):
            error, spoilt = violation, False
        if error is None and self._yard.client.overload.why_unreliable:
            error = NoAnswer(self._yard.client.overload.why_unreliable)
        lost = log.missed and self._yard.client.may_have_dropped_since(started)
        if lost and error is not None and not isinstance(error, Unsupported):
            error, spoilt = Disturbed(f"the weather took what it needs: {log.missed} calls were not answered"), True
        status, reason, wanted, got = outcome(behaviour.entry, error)
        result = Result(
            entry=behaviour.entry,
            status=status,
            reason=reason,
            wanted=wanted,
            got=got,
            started=started,
            seconds=round(clock() - started, DIGITS),
            machines=ids,
            calls=tuple(log.calls),
            decisive=decisive(error, log.calls),
        )
        return Attempt(
            result=result,
            spoilt=spoilt,
            disturbed=isinstance(error, Disturbed),
            doubtful=self._doubtful(error, log.calls),
        )

    def _doubtful(self, error: Exception | None, calls: Sequence[Call]) -> bool:
        overload = self._yard.client.overload
        match error:
            case Violation():
                return overload.tolerable and any(call.busy for call in calls)
            case Unprepared() | NotObserved() | NoAnswer():
                # Whose client had hung up was not heard to be turned away: nothing came of it, is all that shows.
                turned_away = overload.tolerable and (overload.rejected > 0 or any(call.busy for call in calls))
                return turned_away or any(call.cut_off for call in calls)
            case _:
                return False

    async def _run(self, behaviour: Behaviour, lease: Lease, attempt: int) -> None:
        trial = Trial(
            behaviour.entry,
            lease.machines,
            yard=self._yard,
            pool=self._pool,
            found=self._found,
            seed=self._seed,
            examples=self._examples,
            fence_scope=self._fence_scope,
            attempt=attempt,
            watches=behaviour.needs.watches,
            passages=self.passages,
        )
        for machine in lease.machines:
            # The last machine in a row that moves "by itself" is moved by the provider.
            machine.policy = Policy(blames_provider=attempt >= self._most, drop_responses=frozenset(Verb))
            machine.violation = None
        try:
            await behaviour.body(trial)
        finally:
            for machine in lease.machines:
                machine.policy = Policy()


def decisive(error: Exception | None, calls: Sequence[Call]) -> tuple[int, ...]:
    """The indices of the calls that show a violation: those that it names, or else the last one.

    Where the fence is what is judged, so is the call that set the mark: the shard's newest token that had passed.
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
    """The numbers of the shard's token that the fence let pass; None where this is no such call."""
    token = call.token
    return token.numbers if token is not None and token.shard == shard and call.answered and not call.fenced else None


def outcome(entry: Entry, error: Exception | None) -> tuple[Status, str, str, str]:
    """Status, reason, wanted and got for what a body raised, if anything."""
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
