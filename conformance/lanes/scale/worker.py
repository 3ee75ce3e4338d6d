"""Drives one machine through its lifecycle. The model of the fleet judges every answer."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from grpc import StatusCode

from conformance.core.errors import NoAnswer
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.model import rules
from conformance.lanes.scale.timings import RecentCalls
from conformance.rpc.call import Call, recording

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from conformance.core.fencing import Token
    from conformance.fleet.context import FleetContext, SettleResult
    from conformance.fleet.machine import Machine
    from conformance.lanes.scale.timings import Timings
    from conformance.lanes.scale.verdicts import Verdicts

T = TypeVar("T")

RETRY_SHARE: Final = 0.25
"""The share of calls that are retried during the transition, and the share that are retried at rest."""
RETRIABLE_CODES: Final = (
    *(StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.DEADLINE_EXCEEDED),
    *(StatusCode.UNKNOWN, StatusCode.INTERNAL, StatusCode.CANCELLED),
)
"""The codes of an overloaded provider or a broken connection: a retry of the call may succeed."""
MAX_REFUSALS: Final = 3
"""The number of refusals after which a call with an edge is refused for good: another client may have used a slot."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 2.0
"""The pause before a deferred call is sent again. Each pause is twice the last one."""


class Worker:
    """Runs one transition at a time. Methods raise Violation, Disturbed, BudgetSpent, NoAnswer or TargetError."""

    def __init__(
        self,
        machine: Machine,
        number: int,
        context: FleetContext,
        verdicts: Verdicts,
        timings: Timings,
        rng: random.Random,
        check_target: Callable[[], Awaitable[None]],
    ) -> None:
        self.machine = machine
        self.recent = RecentCalls(timings)
        self.state = machine.home
        """The stable state that its last transition has reached."""
        self.deferred = 0
        self.deleted = False
        """True if it was ever deleted, which has counted its next Create."""
        self._number, self._bindings = number, 0
        self._verb: Verb | None = None
        """The verb of the last transition."""
        self._context, self._verdicts, self._rng = context, verdicts, rng
        self._check_target = check_target
        self._first_token: Token | None = None
        """The first token of this machine's shard that the provider accepted."""

    @contextmanager
    def _recording(self) -> Iterator[None]:
        with recording(self.recent):
            yield

    def _binding(self) -> tuple[str, Mapping[str, str]]:
        """Returns the cluster and the metadata of the current binding: unique to this machine and this binding."""
        return f"{self._context.run}-s{self._number}-b{self._bindings}", {
            "conformance.lanes.scale/machine": self.machine.id,
            "conformance.lanes.scale/binding": str(self._bindings),
            "conformance.lanes.scale/empty": "",
            "Conformance.Scale/Empty": "é e\u0301 \u0000 \n ",
        }

    async def take(self) -> None:
        """Adds the machine to those that are driven. Reads a machine that was found IDLE first, for its host."""
        with self._recording():
            if self.state is State.IDLE:
                self._verdicts.model.take(self.machine.id)
                await self.machine.read()
        self._verdicts.driven.add(self.machine.id)

    async def step(self, verb: Verb) -> None:
        """Runs the transition of `verb` to its end. Retries some calls during the transition or at rest."""
        self._context.meter.forget(self.machine.id)
        with self._recording():
            self._bindings += verb is Verb.CONFIGURE
            call = await self._accepted(verb)
            self._verb = verb
            if call is not None:
                self._first_token = self._first_token or call.token
            # An answered Delete is not retried: the slot is free, and the retry could reach another client's machine.
            if self._rng.random() < RETRY_SHARE and verb is not Verb.DELETE:
                await self._retry(verb)
            await self._settle(verb, call)
            if self._rng.random() < RETRY_SHARE and self.state is EDGES[verb].target and verb is not Verb.DELETE:
                await self._retry(verb)
            if self.state in (State.SPECULATIVE, State.IDLE):
                self._renew()

    async def check(self) -> None:
        """Reads the machine: the model checks that Get shows it as the last transition left it."""
        with self._recording():
            await self._answered(self.machine.read)
        if self.state is not State.SPECULATIVE:  # another client may take the slot
            self._verdicts.count_reading(bound=self.state is State.CONFIGURED)
            self._judge()

    async def check_retry(self) -> None:
        """Checks that a retry of the last call has the same operation id, and that the first token is fenced."""
        verb = self._verb
        if verb is None or self.state is not EDGES[verb].target or self.state is State.SPECULATIVE:
            return
        with self._recording():
            # The old token first: a fresh one would set a new mark.
            call = await self._call(verb, self._first_token)
            if self._first_token is not None and call.answered and call.code not in RETRIABLE_CODES:
                self._verdicts.judged["FEN-12"] += 1
                self._judge()
            await self._retry(verb)

    async def reclaim(self) -> bool:
        """Returns whether this run itself owns the claim: the operation id of the Create is an old one of the run.

        Then the machine belongs to this run and must be returned.
        """
        last = next(
            (call for call in reversed(self.recent.calls) if call.rpc == Verb.CREATE.value and call.answered_ok), None
        )
        if last is None or last.token is None or not self._verdicts.model.has_used_twice(last.operation_id):
            return False
        old = self.machine
        self.machine = old.without_history(live=True)
        await self._context.ledger.write_intent(old.id, Verb.CREATE, last.token, home=old.home, seen=State.SPECULATIVE)
        return True

    def _judge(self) -> None:
        """Raises Violation if the model has found a breach of this machine."""
        self._verdicts.check_machine(self.machine.id)

    async def _accepted(self, verb: Verb) -> Call | None:
        """Returns the ack; None if only the state of the machine shows that a Delete was accepted."""
        attempts, refusals = 0, list[Call]()

        async def send() -> Call | None:
            nonlocal attempts
            if verb is Verb.DELETE and attempts and state_of((await self.machine.read()).state) is State.SPECULATIVE:
                return None
            attempts += 1
            call = await self._call(verb)
            if not call.answered or call.code in RETRIABLE_CODES:
                raise NoAnswer(f"{verb.value} of {self.machine.id} answered {call.outcome()}")
            self._verdicts.judged["COD-3"] += 1
            self._judge()
            if not call.ok:
                # If the machine has changed since the last transition, the refusal is right and another clause broken.
                shown = await self.machine.read()
                self._judge()
                if state_of(shown.state) is EDGES[verb].source:
                    refusals.append(call)
                if len(refusals) == MAX_REFUSALS:
                    self._verdicts.model.note(rules.of_refusals(verb, refusals))
                    self._judge()
                raise NoAnswer(f"{call.outcome()}: another client may have used the machine for a moment")
            self._verdicts.judged.update(("LIF-1", "LIF-11", "OPS-1", "OPS-3"))
            return call

        return await self._answered(send, patience=self._context.patience.for_verb(verb))

    async def _call(self, verb: Verb, token: Token | None = None) -> Call:
        if verb is Verb.CONFIGURE:
            cluster, metadata = self._binding()
            return await self.machine.configure(token, cluster=cluster, metadata=metadata)
        return await self.machine.call(verb, token)

    async def _retry(self, verb: Verb) -> None:
        call = await self._call(verb)
        if call.answered and call.code not in RETRIABLE_CODES:
            self._verdicts.judged["OPS-2"] += 1
            if not call.ok:
                await self._answered(self.machine.read)  # the operation may be over: then the refusal is right
            self._judge()

    async def _settle(self, verb: Verb, ack: Call | None) -> None:
        """Waits until the transition has ended, and takes the state that it has reached."""
        patience, verdicts = self._context.patience.for_verb(verb), self._verdicts
        watch: SettleResult = await self._answered(lambda: self.machine.settle(patience=patience))
        seen, target = watch.state, EDGES[verb].target
        if ack is not None:
            verdicts.model.waited(verb, ack, watch.machine, watch.seconds)
            if verb is Verb.CONFIGURE:
                verdicts.note_configured(ack, given_up=rules.given_up(verb, watch.machine))
        self._judge()
        if not (seen in (target, State.FAILED) or rules.given_up(verb, watch.machine)):
            raise NoAnswer(f"{self.machine.id} is {seen.name} after {verb.value}")
        self.state = seen
        self.deleted |= verb is Verb.DELETE
        verdicts.judged["LIF-1"] += 1
        if seen is not State.FAILED:
            verdicts.count_reading(bound=seen is State.CONFIGURED)

    async def _answered(self, send: Callable[[], Awaitable[T]], *, patience: float | None = None) -> T:
        """Returns the result of `send`. Repeats it while it raises NoAnswer, until the patience ends."""
        clock, pause = self._context.client.now, FIRST_PAUSE_SECONDS
        until = clock() + (patience or self._context.patience.longest)
        while True:
            try:
                result = await send()
            except NoAnswer:
                self._judge()
                if clock() >= until:
                    raise
                last = self.recent.calls[-1]
                self.deferred += last.answered
                if not last.answered:
                    await self._check_target()
            else:
                self._verdicts.judged["LIF-4"] += 1
                return result
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _renew(self) -> None:
        """Drops the machine's history, so that the memory of a churn does not grow with its length."""
        context, old = self._context, self.machine
        if self.state is State.SPECULATIVE:
            if not old.unanswered:
                context.ledger.note_cleaned_up(old.id)
            self._verb = None
        self.machine = old.without_history(live=old.live)
