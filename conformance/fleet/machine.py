"""One machine that the kit may drive. Every mutating call goes through here, and so through the ledger."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core import background
from conformance.core.errors import Disturbed, NoAnswer, Unprepared
from conformance.core.fencing import Shard, Token
from conformance.core.lifecycle import EDGES, State, Verb, next_verb, state_of
from conformance.fleet import machine_record
from conformance.fleet.context import SettleResult, is_other_machine
from conformance.fleet.machine_record import LastSeen, MachineRecord
from conformance.fleet.ownership import Owner, Ownership, claim_ownership
from conformance.fleet.recovery import any_applied, fence_off
from conformance.fleet.retry import MutatingCall, Retry, may_drop, send_with_retry
from conformance.fleet.unanswered import UnansweredCalls
from conformance.rpc.backoff import retry_while_overloaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.errors import Violation
    from conformance.core.timeouts import Patience
    from conformance.fleet.context import FleetContext
    from conformance.fleet.retry import CallOutcome
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client

    Send: TypeAlias = Callable[[Client, Token], Awaitable[Call]]

UNSURE = (
    *(StatusCode.UNAVAILABLE, StatusCode.UNKNOWN, StatusCode.INTERNAL),
    *(StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED),
)
"""The codes of a lost connection or an expired deadline. Even if the provider sent it, the call may have started
something."""
FIRST_POLL = 0.005
POLL_SHARE = 0.047
"""The next look at a machine comes after this share of the wait so far, so that no wait is 5 % longer than needed."""
MAX_STEPS = 8
"""Edges that are tried to bring a machine to a state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The way in which the machine's calls are made, and in which changes that the kit did not make are taken."""

    insists: bool = False
    """True if calls that the provider rejects for load are repeated for long: during cleanup."""
    blames_provider: bool = False
    """If true, unexplained state changes count as provider violations."""
    drop_responses: frozenset[Verb] = frozenset()
    """The verbs whose next call loses its response, if fault injection does that."""


class Machine:
    """A machine by its id, with the shard that drives it and what is known of it."""

    def __init__(
        self,
        machine_id: str,
        yard: FleetContext,
        *,
        number: int,
        home: State = State.SPECULATIVE,
        live: bool = False,
        shard: Shard | None = None,
        unanswered: UnansweredCalls | None = None,
    ) -> None:
        """`number` tells the run's machines apart; `home` is the state in which the machine was found."""
        self.id = machine_id
        self.home = home
        self.shard = shard or Shard(f"{yard.run}-m{number}")
        self.policy = Policy()
        self.violation: Violation | None = None
        """The first violation that a retry of a call has shown."""
        self.record = MachineRecord(
            seen=LastSeen(state=home),
            ownership=Ownership(owner=Owner.OURS if live or home is State.IDLE else Owner.NOBODY),
            unanswered=unanswered or UnansweredCalls(),
        )
        self._yard = yard
        self._number, self._bindings = number, 0
        self._claims: dict[str, asyncio.Task[bool]] = {}
        """By operation id, whether the kit has won its claim on the machine that it created."""
        self._slot_check: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()

    @property
    def state(self) -> State:
        """The state that it showed last."""
        return self.record.seen.state

    @property
    def ownership(self) -> Ownership:
        """Its owner, and what is known of earlier ones."""
        return self.record.ownership

    @property
    def live(self) -> bool:
        """Returns whether the machine has a host that belongs to the kit."""
        return self.record.live

    @property
    def costs(self) -> bool:
        """Returns whether it has a host through the kit, or may have: a Create was not answered."""
        return self.live or self.unanswered.create

    @property
    def touched(self) -> bool:
        """Returns whether a mutating call was ever sent, or about to be."""
        return self.record.calls.touched

    @property
    def unanswered(self) -> UnansweredCalls:
        """Mutating calls that were not answered and may still arrive."""
        return self.record.unanswered

    @property
    def cluster(self) -> str:
        """The cluster that a Configure binds it to by default; during a lease, always the same."""
        return f"{self._yard.run}-m{self._number}-b{self._bindings}"

    @property
    def patience(self) -> Patience:
        """The times that its transitions may take."""
        return self._yard.patience

    def without_history(self, *, live: bool) -> Machine:
        """The same machine without its past, so that a long run needs no more memory than a short one."""
        other = Machine(self.id, self._yard, number=self._number, home=self.home, shard=self.shard)
        other.record = self.record.without_history(live=live or self.home is State.IDLE)
        return other

    def binds(self, seen: pb.Machine) -> bool:
        """Returns whether `seen` is bound as `bring` binds it, so that nothing shows who had it before."""
        return seen.cluster == self.cluster and not seen.shard_metadata

    def rename_binding(self) -> None:
        """Unless it is bound, binds it to another cluster next time, so that each lease finds a machine as new."""
        if self.state in (State.SPECULATIVE, State.IDLE):
            self._bindings += 1

    # The six RPCs. The default token is the next one of the machine's own shard.

    async def create(
        self, token: Token | None = None, *, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """Create, with a fresh token unless one is given."""
        return await self._mutate(Verb.CREATE, token, client, lambda c, t: c.create(self.id, t, timeout=timeout))

    async def configure(
        self,
        token: Token | None = None,
        *,
        cluster: str | None = None,
        metadata: Mapping[str, str] | None = None,
        blob: bytes = b"#!conformance",
        client: Client | None = None,
        timeout: float | None = None,
    ) -> Call:
        """Configure for `cluster`, the machine's own unless one is given."""
        name = self.cluster if cluster is None else cluster
        self.record = replace(self.record, clusters=self.record.clusters | {name})

        def send(client: Client, token: Token) -> Awaitable[Call]:
            return client.configure(self.id, token, cluster=name, metadata=metadata, blob=blob, timeout=timeout)

        return await self._mutate(Verb.CONFIGURE, token, client, send)

    async def drain(
        self, token: Token | None = None, *, grace: int = 0, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """Drain with `grace` seconds."""
        return await self._mutate(
            Verb.DRAIN, token, client, lambda c, t: c.drain(self.id, t, grace=grace, timeout=timeout)
        )

    async def delete(
        self, token: Token | None = None, *, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """Delete."""
        return await self._mutate(Verb.DELETE, token, client, lambda c, t: c.delete(self.id, t, timeout=timeout))

    async def call(
        self, verb: Verb, token: Token | None = None, *, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """The mutating call of `verb`, with its defaults."""
        ask: Callable[..., Awaitable[Call]] = getattr(self, verb.value.lower())
        return await ask(token, client=client, timeout=timeout)

    async def get(self) -> Call:
        """Reads the machine. One Get per machine at a time: other callers wait meanwhile.

        Raises Disturbed if another client has changed it.
        """
        async with self._reading:
            call = await self._yard.client.get(self.id)
        if call.ok and not is_other_machine(call.response, self.id):
            self._note_reading(call.response)
        return call

    async def read(self) -> pb.Machine:
        """Returns the machine as Get shows it. Raises NoAnswer if Get does not answer OK."""
        call = await retry_while_overloaded(self.get, insists=self.policy.insists)
        if not call.ok:
            raise NoAnswer(f"Get of {self.id} answered {call.outcome()}")
        machine: pb.Machine = call.response
        if is_other_machine(machine, self.id):
            raise NoAnswer(f"Get of {self.id} showed another machine, {machine.id[:60]!r}")
        return machine

    async def settle(self, *, patience: float | None = None) -> SettleResult:
        """Reads until the machine is in a stable state, or for `patience` seconds; never raises for what it sees."""
        clock = self._yard.client.now
        started, states = clock(), list[State]()
        limit = patience or self._yard.patience.of(self.state)
        while True:
            machine = await self.read()
            state = state_of(machine.state)
            if not states or states[-1] is not state:
                states.append(state)
            waited = clock() - started
            if state.stable or waited >= limit:
                return SettleResult(states=tuple(states), machine=machine, seconds=waited)
            await asyncio.sleep(min(max(FIRST_POLL, POLL_SHARE * waited), max(0.0, limit - waited)))

    # A mutating call, step by step.

    async def _mutate(self, verb: Verb, token: Token | None, client: Client | None, send: Send) -> Call:
        shared = self._yard.client
        client = client or shared
        call = MutatingCall(
            verb=verb,
            machine_id=self.id,
            token=token or self.shard.next(),
            own=token is None,
            client=client,
            shared=client is shared,
            send=partial(send, client),
        )
        return await shared.mutating.run(self._perform(call))

    async def _perform(self, call: MutatingCall) -> Call:
        begins_life = call.verb is Verb.CREATE and not self.live
        if begins_life:
            self._reserve_create(call.token)
        try:
            try:
                await self._prepare_to_send(call, begins_life=begins_life)
                outcome = await self._send(call, begins_life=begins_life)
            except BaseException:
                # Ends the reservation of a Create.
                self._yard.meter.answered(call.verb, self.id, "", self._yard.client.now(), price=0.0)
                raise
            return await self._note_outcome(call, outcome, begins_life=begins_life)
        finally:
            if begins_life:
                self.record = self.record.create_ended()

    def _reserve_create(self, token: Token) -> None:
        """Raises BudgetSpent if the Create would be one too many."""
        self._yard.meter.reserve(self.id)
        if not self.record.calls.creates_in_flight:
            self._slot_check = background.start(self._check_slot(token))
        self.record = self.record.create_begun()

    async def _prepare_to_send(self, call: MutatingCall, *, begins_life: bool) -> None:
        """Writes the call into the ledger. Raises NotWritten, and Disturbed if another client owns the machine."""
        await self._write_intent(call.verb, call.token)
        self.record = self.record.about_to_send()
        if begins_life and self._slot_check is not None:
            await background.wait(self._slot_check)
        elif self.home is State.SPECULATIVE and not (self.live or self.record.calls.creates_in_flight):
            await self.read()  # another client may have taken the slot, maybe just now
        if self.ownership.owner is Owner.ANOTHER and self.state is not State.SPECULATIVE:
            # Never drive a machine that the kit does not own, whoever is blamed for what it shows.
            raise Disturbed(f"{self.id} is {self.state.name}, and not by us")

    async def _check_slot(self, token: Token) -> None:
        """Checks that the slot still is one once the intent is on disk: another client may be faster than a disk."""
        await self._write_intent(Verb.CREATE, token)
        if self.home is not State.SPECULATIVE or self.unanswered.create:
            return
        if state_of((await self.read()).state) is not State.SPECULATIVE:
            self._disown()

    async def _write_intent(self, verb: Verb, token: Token) -> None:
        await self._yard.ledger.intend(self.id, verb, token, home=self.home, seen=self.state)

    async def _send(self, call: MutatingCall, *, begins_life: bool) -> CallOutcome:
        self.record = self.record.sent(call.verb, begins_life=begins_life)
        number = self.record.calls.sent
        retry = Retry(
            state_before=self.state,
            next_token=partial(self._next_token, call.verb),
            superseded=lambda: self.record.calls.sent != number,
        )
        drop = call.verb in self.policy.drop_responses and may_drop(call)
        if drop:
            self.policy = replace(self.policy, drop_responses=self.policy.drop_responses - {call.verb})
        try:
            return await send_with_retry(call, retry, drop_response=drop)
        except BaseException:
            self._note_unanswered(call)
            raise

    async def _next_token(self, verb: Verb) -> Token:
        token = self.shard.next()
        await self._write_intent(verb, token)
        return token

    async def _note_outcome(self, call: MutatingCall, outcome: CallOutcome, *, begins_life: bool) -> Call:
        """Takes note of what the call has done. Raises Disturbed if another client has created the machine first."""
        answer = outcome.call
        self.violation = self.violation or outcome.violation
        # An ack without an operation id is known by its token.
        operation = (answer.operation_id or str(call.token)) if answer.ok else ""
        new = self._yard.meter.answered(call.verb, self.id, operation, answer.ended, price=answer.price)
        if not answer.answered or answer.code in UNSURE or (answer.put_off and not answer.ok):
            self._note_unanswered(call)
        self.record = self.record.answered(self.id, call.verb, answer, new=new, begins_life=begins_life)
        if begins_life and operation:
            await self._claim(operation)
            if self.id not in self._yard.ledger.open:
                # It was disowned while this call was under way, and belongs to the kit after all.
                await self._yard.ledger.intend(self.id, call.verb, call.token, home=self.home, seen=State.SPECULATIVE)
        return answer

    def _note_unanswered(self, call: MutatingCall) -> None:
        self.record = self.record.not_answered(call.verb, call.token)
        if call.verb is Verb.CREATE:
            self._yard.meter.note_unanswered(self.id)

    async def _claim(self, operation_id: str) -> None:
        """Claims the machine that the operation has created. Raises Disturbed if another client was first."""
        if operation_id not in self._claims:
            if self.live:
                return
            claim = claim_ownership(self._yard.client, self.id, operation_id, shard=self.shard.id)
            self._claims[operation_id] = background.start(claim)
        self.record = self.record.contested()
        if await background.wait(self._claims[operation_id]):
            self.record = self.record.claimed()
            return
        self.record = self.record.beaten()
        self._note_disowned()
        raise Disturbed(f"somebody else created {self.id} at the same moment")

    # Readings.

    def _note_reading(self, shown: pb.Machine) -> None:
        """Takes note of what Get has shown. Raises Disturbed if another client has changed it."""
        yard = self._yard
        reading = machine_record.read(
            self.record,
            self.id,
            shown,
            home=self.home,
            run=yard.run,
            blames_provider=self.policy.blames_provider,
        )
        self.record = reading.record
        if reading.disowned:
            self._note_disowned()
        if reading.disturbed:
            raise Disturbed(reading.disturbed)
        if reading.ended is not None:
            yard.meter.note_duration(reading.ended.verb, yard.client.now() - reading.ended.since)
        if reading.at_rest:
            yard.ledger.seen(self.id, self.state, host=shown.host.ref)
        if reading.returned:
            yard.meter.note_released(self.id, yard.client.now())

    def _disown(self) -> None:
        self.record = self.record.disowned()
        self._note_disowned()

    def _note_disowned(self) -> None:
        """The machine costs the kit nothing any more, and a sweep must leave it alone."""
        self._yard.meter.note_released(self.id, self._yard.client.now())
        self._yard.ledger.lost(self.id)

    # Drive: one edge after the other.

    async def bring(self, to: State, *, at_all_costs: bool = False) -> pb.Machine:
        """Drives the machine to a stable state by the shortest way, judging nothing.

        `at_all_costs`: if a broken fence refuses even the newest token, sends the call without one (FEN-14).
        Raises Unprepared if it does not get there, Disturbed if another client owns it.
        """
        for _ in range(MAX_STEPS):
            watch = await self.settle()
            await self._check_may_drive(watch)
            if watch.state is to and await self._is_there(to):
                return watch.machine
            if not watch.state.stable:
                raise Unprepared(f"{self.id} is still {watch.state.name} after {watch.seconds:.1f} s of patience")
            verb = next_verb(watch.state, to)
            if verb is None:
                raise Unprepared(f"{self.id} is {watch.state.name}, and nothing leads from there to {to.name}")
            await self._take_edge(verb, at_all_costs=at_all_costs)
        raise Unprepared(f"{self.id} does not come to {to.name}")

    async def _check_may_drive(self, watch: SettleResult) -> None:
        """Raises Disturbed if another client owns the machine."""
        if watch.state is State.IDLE and self.unanswered and not self.live:
            # A Create that was not answered has claimed nothing. Repeated, it shows whose machine this is.
            await self.assert_ownership()
            await self.create()
        if watch.state is State.CONFIGURED and not (self.live or self._named_by_run(watch.machine.cluster)):
            self._disown()
            raise Disturbed(f"somebody else has bound {self.id}")

    async def _is_there(self, to: State) -> bool:
        """Returns whether one reading of the state is enough: a provider whose reads flicker gives no reliable state.

        A machine that was driven has to show SPECULATIVE twice, because then it is taken to cost nothing any more.
        """
        return to is not State.SPECULATIVE or not self.touched or state_of((await self.read()).state) is to

    async def _take_edge(self, verb: Verb, *, at_all_costs: bool) -> None:
        source = self.state
        call = await retry_while_overloaded(lambda: self.call(verb), insists=self.policy.insists)
        if call.fenced and at_all_costs:
            call = await self.call(verb, Token("", 0, 0))
        if not call.ok:
            raise Unprepared(f"{verb.value} of {self.id}, {source.name}, answered {call.outcome()}")
        watch = await self.settle()
        if watch.state is not EDGES[verb].target:
            why = watch.machine.last_error or "no error"
            raise Unprepared(f"{self.id} is {watch.state.name} after {verb.value}: {why}")

    # Recovery: after calls that were not answered.

    async def may_be_ours(self) -> bool:
        """Returns whether the machine, if it lives, may live because of a call that was not answered.

        A machine that another client has bound is not: asking the fence takes a Drain, which would unbind it.
        """
        shown = await self.read()
        if state_of(shown.state) is State.SPECULATIVE:
            return True
        free = not shown.cluster and state_of(shown.state) is not State.CONFIGURED
        return (free or self._named_by_run(shown.cluster)) and await any_applied(self.unanswered, self._ask_fence)

    async def assert_ownership(self) -> None:
        """Raises Disturbed if the machine lives, and neither the kit nor one of its unanswered calls has created it."""
        if not self.live and not await self.may_be_ours():
            self._disown()
            raise Disturbed(f"somebody else has {self.id}: none of our calls came through")

    async def fence_off(self) -> None:
        """Makes sure that unanswered calls can start nothing any more. If one has started the machine, it is the kit's.

        Raises NoAnswer if the provider still does not answer, Disturbed if another client owns the machine.
        """
        await self.assert_ownership()
        await self.read()  # if the provider does not answer this, there is no point in a call for each shard
        await fence_off(self.unanswered, self._ask_fence, own=self.shard)
        live = state_of((await self.read()).state) is not State.SPECULATIVE
        self.record = self.record.fenced_off(live=live)

    async def _ask_fence(self, token: Callable[[], Token]) -> Call:
        """Returns the fence's answer to a Drain with that token. Raises NoAnswer if the call does not come so far."""
        call = await retry_while_overloaded(lambda: self.drain(token()), insists=self.policy.insists)
        if not call.answered or call.busy:
            raise NoAnswer(f"Drain of {self.id} answered {call.outcome()}")
        return call

    def _named_by_run(self, cluster: str) -> bool:
        """Returns whether a cluster belongs to this run, by its name, whichever machine it was for."""
        return cluster.startswith(self._yard.run)
