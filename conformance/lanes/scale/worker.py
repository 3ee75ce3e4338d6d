"""Drives one machine through its lifecycle, and compares every answer with the oracle."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from grpc import StatusCode

from conformance.core.errors import NoAnswer
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.lanes.scale.oracle import Expected
from conformance.lanes.scale.timings import RecentCalls
from conformance.rpc.call import recording

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator

    from conformance.core.fencing import Token
    from conformance.fleet.context import FleetContext, SettleResult
    from conformance.fleet.machine import Machine
    from conformance.lanes.scale.oracle import Oracle
    from conformance.lanes.scale.timings import Timings
    from conformance.rpc.call import Call

T = TypeVar("T")

RETRY_SHARE: Final = 0.25
"""The share of calls that are retried during the transition, and the share that are retried at rest."""
RETRIABLE_CODES: Final = (
    *(StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.DEADLINE_EXCEEDED),
    *(StatusCode.UNKNOWN, StatusCode.INTERNAL, StatusCode.CANCELLED),
)
"""The codes of an overloaded provider or a broken connection: a retry of the call may succeed."""
MAX_CREATE_ATTEMPTS: Final = 3
"""The maximum number of Creates if a free slot refuses them: another client may have used it for a moment."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 2.0
"""The pause before a deferred call is sent again. Each pause is twice the last one."""


class Worker:
    """Runs one transition at a time. Methods raise Violation, Disturbed, BudgetSpent, NoAnswer or TargetError."""

    def __init__(
        self,
        machine: Machine,
        number: int,
        context: FleetContext,
        oracle: Oracle,
        timings: Timings,
        rng: random.Random,
        check_target: Callable[[], Awaitable[None]],
    ) -> None:
        self.machine = machine
        self.recent = RecentCalls(timings)
        self.expected = Expected(id=machine.id, run=context.run, number=number, state=machine.home)
        self.deferred = 0
        self._context, self._oracle, self._rng = context, oracle, rng
        self._check_target = check_target
        self._first_token: Token | None = None
        """The first token of this machine's shard that the provider accepted."""

    @contextmanager
    def _recording(self) -> Iterator[None]:
        with recording(self.recent):
            yield

    async def take(self) -> None:
        """Adds the machine to the oracle. Reads a machine that was found IDLE first, for its host."""
        with self._recording():
            if self.expected.state is State.IDLE:
                self.expected.host = (await self.machine.read()).host.ref
        self._oracle.machines[self.machine.id] = self.expected

    async def step(self, verb: Verb) -> None:
        """Runs the transition of `verb` to its end. Retries some calls during the transition or at rest."""
        self._context.meter.forget(self.machine.id)
        with self._recording():
            self.expected.bindings += verb is Verb.CONFIGURE
            call = await self._accepted(verb)
            if call is not None:
                self._oracle.check_ack(self.expected, verb, call, self.recent.calls)
                self._first_token = self._first_token or call.token
            # An answered Delete is not retried: the slot is free, and the retry could reach another client's machine.
            if self._rng.random() < RETRY_SHARE and verb is not Verb.DELETE:
                await self._retry(verb)
            watch = await self._settled(verb)
            self._oracle.check_settled(self.expected, verb, watch, self.recent.calls)
            if (
                self._rng.random() < RETRY_SHARE
                and self.expected.state is EDGES[verb].target
                and verb is not Verb.DELETE
            ):
                await self._retry(verb)
            if self.expected.state in (State.SPECULATIVE, State.IDLE):
                self._renew()

    async def check(self) -> None:
        """Checks that Get shows the machine as the last transition left it."""
        with self._recording():
            machine = await self._answered(self.machine.read)
        if self.expected.state is not State.SPECULATIVE:  # another client may take the slot
            self._oracle.check_reading(self.expected, machine, self.recent.calls)

    async def check_retry(self) -> None:
        """Checks that a retry of the last call has the same operation id, and that the first token is fenced."""
        verb = self.expected.verb
        if verb is None or self.expected.state is not EDGES[verb].target or self.expected.state is State.SPECULATIVE:
            return
        with self._recording():
            # The old token first: a fresh one would set a new mark.
            call = await self._call(verb, self._first_token)
            if self._first_token is not None and call.answered and call.code not in RETRIABLE_CODES:
                self._oracle.fact(
                    call.fenced,
                    "FEN-12",
                    wanted=f"{verb.value} with the used token {self._first_token} to be fenced",
                    got=call.outcome(),
                    machine=self.machine.id,
                    calls=self.recent.calls,
                )
            await self._retry(verb)

    async def reclaim(self) -> bool:
        """Returns whether this run itself owns the claim: the operation id of the Create is an old one of the run.

        Then the machine belongs to this run and must be returned. Raises Violation.
        """
        last = next(
            (call for call in reversed(self.recent.calls) if call.rpc == Verb.CREATE.value and call.answered_ok), None
        )
        if last is None or last.token is None or not self._oracle.knows_operation(last.operation_id):
            return False
        old = self.machine
        self.machine = old.without_history(live=True)
        await self._context.ledger.write_intent(old.id, Verb.CREATE, last.token, home=old.home, seen=State.SPECULATIVE)
        self._oracle.check_ack(self.expected, Verb.CREATE, last, self.recent.calls)
        return True

    async def _accepted(self, verb: Verb) -> Call | None:
        """Returns the ack; None if only the state of the machine shows that a Delete was accepted."""
        attempts = 0

        async def send() -> Call | None:
            nonlocal attempts
            if verb is Verb.DELETE and attempts and state_of((await self.machine.read()).state) is State.SPECULATIVE:
                return None
            attempts += 1
            call = await self._call(verb)
            if not call.answered or call.code in RETRIABLE_CODES:
                raise NoAnswer(f"{verb.value} of {self.machine.id} answered {call.outcome()}")
            self._fact(not call.fenced, "COD-3", f"{verb.value} with a fresh token not to be fenced", call)
            if not call.ok:
                # If the machine has changed since the last transition, the refusal is right and another clause broken.
                self._oracle.check_reading(self.expected, await self.machine.read(), self.recent.calls)
                if verb is Verb.CREATE and attempts < MAX_CREATE_ATTEMPTS:
                    raise NoAnswer(f"{call.outcome()}: another client may have used the slot for a moment")
            self._fact(
                call.ok, "LIF-1", f"{verb.value} of {self.machine.id}, {EDGES[verb].source.name}, to be accepted", call
            )
            return call

        return await self._answered(send, patience=self._context.patience.for_verb(verb))

    async def _call(self, verb: Verb, token: Token | None = None) -> Call:
        if verb is Verb.CONFIGURE:
            cluster, metadata = self.expected.binding()
            return await self.machine.configure(token, cluster=cluster, metadata=metadata)
        return await self.machine.call(verb, token)

    async def _retry(self, verb: Verb) -> None:
        given_up = self.machine.record.calls.given_up
        call = await self._call(verb)
        if not call.answered or call.code in RETRIABLE_CODES:
            return
        if call.ok and self.machine.record.calls.given_up > given_up:
            # The first Configure was given up meanwhile (FLT-1), so this is another operation.
            self._oracle.check_ack(self.expected, verb, call, self.recent.calls)
            return
        if not call.ok:
            watch = await self._settled(verb)
            if watch.state is State.FAILED or self.machine.record.calls.given_up > given_up:
                return  # a FAILED machine refuses all calls (FLT-3)
            if self.expected.state is EDGES[verb].target:
                self._oracle.check_reading(self.expected, watch.machine, self.recent.calls)
        self._oracle.check_retry(self.expected, call, self.recent.calls)

    async def _settled(self, verb: Verb) -> SettleResult:
        return await self._answered(lambda: self.machine.settle(patience=self._context.patience.for_verb(verb)))

    async def _answered(self, send: Callable[[], Awaitable[T]], *, patience: float | None = None) -> T:
        """Returns the result of `send`. Repeats it while it raises NoAnswer, until the patience ends."""
        clock, pause = self._context.client.now, FIRST_PAUSE_SECONDS
        until = clock() + (patience or self._context.patience.longest)
        while True:
            try:
                result = await send()
            except NoAnswer:
                last = self.recent.calls[-1]
                self._fact(last.code is not StatusCode.NOT_FOUND, "LIF-4", f"Get to find {self.machine.id}", last)
                if clock() >= until:
                    raise
                self.deferred += last.answered
                if not last.answered:
                    await self._check_target()
            else:
                self._oracle.judged["LIF-4"] += 1
                return result
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _fact(self, holds: bool, clause: str, wanted: str, call: Call) -> None:
        calls = self.recent.calls
        self._oracle.fact(
            holds, clause, wanted=wanted, got=call.outcome(), machine=self.machine.id, calls=calls, decisive=[call]
        )

    def _renew(self) -> None:
        """Drops the machine's history, so that the memory of a churn does not grow with its length."""
        context, old = self._context, self.machine
        if self.expected.state is State.SPECULATIVE:
            if not old.unanswered:
                context.ledger.note_cleaned_up(old.id)
            self.expected.verb, self.expected.operation = None, ""
        self.machine = old.without_history(live=old.live)
