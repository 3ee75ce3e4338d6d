"""Drives one machine through its lifecycle and compares every answer with the oracle."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from grpc import StatusCode

from conformance.core.errors import NoAnswer
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.lanes.scale.oracle import Expected
from conformance.lanes.scale.timings import Tape
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

RETRIED: Final = 0.25
"""The share of calls that are repeated during the transition, and the share that are repeated at rest."""
PUT_OFF: Final = (
    *(StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.DEADLINE_EXCEEDED),
    *(StatusCode.UNKNOWN, StatusCode.INTERNAL, StatusCode.CANCELLED),
)
"""Codes of a provider that is overloaded, or of a broken connection: sent again, the call may succeed."""
TRIES: Final = 3
"""How often a Create is sent if a free slot refuses it: another client may briefly have had it."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds before a call that was put off is sent again; each pause is twice the last one."""


class Worker:
    """Runs one transition after the other. Methods raise Violation, Disturbed, BudgetSpent, NoAnswer or TargetError."""

    def __init__(
        self,
        machine: Machine,
        number: int,
        yard: FleetContext,
        oracle: Oracle,
        timings: Timings,
        draw: random.Random,
        alive: Callable[[], Awaitable[None]],
    ) -> None:
        self.machine = machine
        self.tape = Tape(timings)
        self.expected = Expected(id=machine.id, run=yard.run, number=number, state=machine.home)
        self.put_off = 0
        self._yard, self._oracle, self._draw = yard, oracle, draw
        self._alive = alive
        self._first: Token | None = None
        """The first token of this machine's shard that the provider accepted."""

    @contextmanager
    def _taped(self) -> Iterator[None]:
        with recording(self.tape):
            yield

    async def take(self) -> None:
        """Makes the machine known to the oracle. A machine that was found IDLE is read first, to know its host."""
        with self._taped():
            if self.expected.state is State.IDLE:
                self.expected.host = (await self.machine.read()).host.ref
        self._oracle.machines[self.machine.id] = self.expected

    async def step(self, verb: Verb) -> None:
        """Runs the transition of `verb` to its end. Some calls are repeated during the transition or at rest."""
        self._yard.meter.forget(self.machine.id)
        with self._taped():
            self.expected.bindings += verb is Verb.CONFIGURE
            call = await self._accepted(verb)
            if call is not None:
                self._oracle.acked(self.expected, verb, call, self.tape.calls)
                self._first = self._first or call.token
            # An answered Delete is not sent again: the slot is free, and the call could meet another client's machine.
            if self._draw.random() < RETRIED and verb is not Verb.DELETE:
                await self._repeat(verb)
            watch = await self._settled(verb)
            self._oracle.settled(self.expected, verb, watch, self.tape.calls)
            if self._draw.random() < RETRIED and self.expected.state is EDGES[verb].target and verb is not Verb.DELETE:
                await self._repeat(verb)
            if self.expected.state in (State.SPECULATIVE, State.IDLE):
                self._renew()

    async def look(self) -> None:
        """Checks that Get shows the machine as it was left."""
        with self._taped():
            machine = await self._answered(self.machine.read)
        if self.expected.state is not State.SPECULATIVE:  # another client may take the slot
            self._oracle.shown(self.expected, machine, self.tape.calls)

    async def ask_again(self) -> None:
        """Checks that the last call, repeated, has the same operation id, and that the first token is fenced."""
        verb = self.expected.verb
        if verb is None or self.expected.state is not EDGES[verb].target or self.expected.state is State.SPECULATIVE:
            return
        with self._taped():
            # The old token first: a fresh one would set a new mark.
            call = await self._call(verb, self._first)
            if self._first is not None and call.answered and call.code not in PUT_OFF:
                self._oracle.fact(
                    call.fenced,
                    "FEN-12",
                    wanted=f"{verb.value} with token {self._first}, which was used before, to be fenced",
                    got=call.outcome(),
                    machine=self.machine.id,
                    calls=self.tape.calls,
                )
            await self._repeat(verb)

    async def came_back(self) -> bool:
        """Returns whether the claim was lost to this run itself: the operation id of the Create is one of its old ones.

        Then the machine is ours, whatever the claim says, and has to be returned. Raises Violation.
        """
        last = next((call for call in reversed(self.tape.calls) if call.rpc == Verb.CREATE.value and call.ok), None)
        if last is None or last.token is None or not self._oracle.known(last.operation_id):
            return False
        old = self.machine
        self.machine = old.without_history(live=True)
        await self._yard.ledger.write_intent(old.id, Verb.CREATE, last.token, home=old.home, seen=State.SPECULATIVE)
        self._oracle.acked(self.expected, Verb.CREATE, last, self.tape.calls)
        return True

    async def _accepted(self, verb: Verb) -> Call | None:
        """Returns the ack; None if only the machine's state shows that a Delete was accepted."""
        asked = 0

        async def ask() -> Call | None:
            nonlocal asked
            if verb is Verb.DELETE and asked and state_of((await self.machine.read()).state) is State.SPECULATIVE:
                return None
            asked += 1
            call = await self._call(verb)
            self._fact(not call.fenced, "COD-3", f"{verb.value} with a fresh token not to be fenced", call)
            if not call.answered or call.code in PUT_OFF:
                raise NoAnswer(f"{verb.value} of {self.machine.id} answered {call.outcome()}")
            if not call.ok:
                # If the machine is not as it was left, the refusal is right, and another clause is broken.
                self._oracle.shown(self.expected, await self.machine.read(), self.tape.calls)
                if verb is Verb.CREATE and asked < TRIES:
                    raise NoAnswer(f"{call.outcome()}: another client may have had the slot for a moment")
            self._fact(call.ok, "LIF-1", f"{verb.value} of {self.machine.id}, {EDGES[verb].source.name}, to go", call)
            return call

        return await self._answered(ask, patience=self._yard.patience.for_verb(verb))

    async def _call(self, verb: Verb, token: Token | None = None) -> Call:
        if verb is Verb.CONFIGURE:
            cluster, metadata = self.expected.binding()
            return await self.machine.configure(token, cluster=cluster, metadata=metadata)
        return await self.machine.call(verb, token)

    async def _repeat(self, verb: Verb) -> None:
        call = await self._call(verb)
        if not call.answered or call.code in PUT_OFF:
            return
        if not call.ok:
            watch = await self._settled(verb)
            if watch.state is State.FAILED:
                return  # it refuses everything (FLT-3)
            if self.expected.state is EDGES[verb].target:
                self._oracle.shown(self.expected, watch.machine, self.tape.calls)
        self._oracle.retried(self.expected, call, self.tape.calls)

    async def _settled(self, verb: Verb) -> SettleResult:
        return await self._answered(lambda: self.machine.settle(patience=self._yard.patience.for_verb(verb)))

    async def _answered(self, ask: Callable[[], Awaitable[T]], *, patience: float | None = None) -> T:
        """Returns what `ask` returns. Calls it again if it raises NoAnswer, as long as the patience lasts."""
        clock, pause = self._yard.client.now, FIRST_PAUSE
        until = clock() + (patience or self._yard.patience.longest)
        while True:
            try:
                result = await ask()
            except NoAnswer:
                last = self.tape.calls[-1]
                self._fact(last.code is not StatusCode.NOT_FOUND, "LIF-4", f"Get to find {self.machine.id}", last)
                if clock() >= until:
                    raise
                self.put_off += last.answered
                if not last.answered:
                    await self._alive()
            else:
                self._oracle.judged["LIF-4"] += 1
                return result
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _fact(self, holds: bool, clause: str, wanted: str, call: Call) -> None:
        calls = self.tape.calls
        self._oracle.fact(
            holds, clause, wanted=wanted, got=call.outcome(), machine=self.machine.id, calls=calls, decisive=[call]
        )

    def _renew(self) -> None:
        """Forgets the machine's past, so that a long churn needs no more memory than a short one."""
        yard, old = self._yard, self.machine
        if self.expected.state is State.SPECULATIVE:
            if not old.unanswered:
                yard.ledger.note_cleaned_up(old.id)
            self.expected.verb, self.expected.operation = None, ""
        self.machine = old.without_history(live=old.live)
