"""One machine that the kit may drive. Every mutating call is sent from here, after an entry in the ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from conformance.core import background
from conformance.core.errors import Disturbed, NoAnswer
from conformance.core.fencing import LADDER, LadderShard, Shard, Token, choose_token
from conformance.core.lifecycle import State, Verb, state_of
from conformance.fleet import machine_record
from conformance.fleet.context import SettleResult, is_other_machine
from conformance.fleet.drive import Drive
from conformance.fleet.machine_record import LastSeen, MachineRecord
from conformance.fleet.ownership import Owner, Ownership, claim_ownership
from conformance.fleet.policy import Policy
from conformance.fleet.recovery import any_applied, ask_fence, fence_off
from conformance.fleet.retry import MutatingCall, Retry, may_drop, send_with_retry
from conformance.fleet.unanswered import UNCERTAIN_CODES, Doubt, UnansweredCalls
from conformance.rpc.backoff import INSISTENT_RETRY_DELAYS, retry_while_overloaded
from conformance.rpc.client import DEFAULT_GRACE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.errors import Violation
    from conformance.core.fencing import TokenSource
    from conformance.core.timeouts import Patience
    from conformance.fleet.context import FleetContext
    from conformance.fleet.model import FleetModel
    from conformance.fleet.retry import CallOutcome
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client

    Send: TypeAlias = Callable[[Client, Token], Awaitable[Call]]

FIRST_POLL = 0.005
POLL_SHARE = 0.047
"""The pause before the next Get, as a share of the wait so far. It keeps every wait within 5 % of the minimum."""


class Machine:
    """A machine: its id, the shard that drives it, and the record of its calls and readings."""

    def __init__(
        self,
        machine_id: str,
        context: FleetContext,
        *,
        number: int,
        home: State = State.SPECULATIVE,
        live: bool = False,
        shard: Shard | None = None,
        unanswered: UnansweredCalls | None = None,
    ) -> None:
        """`number` identifies the machine within the run; `home` is the state in which the machine was found."""
        self.id = machine_id
        self.home = home
        self.shard = shard or Shard(f"{context.run}-m{number}")
        self.edge_shard = LadderShard(f"{self.shard.id}-edges", step=5 * number % (len(LADDER) - 1))
        self.policy = Policy()
        self.failure_expected = False
        """True if a behaviour judges itself what it means that the machine is FAILED: no reason to try again."""
        self.violation: Violation | None = None
        """The first violation seen when a call was retried after its response was dropped by fault injection."""
        self.record = MachineRecord(
            seen=LastSeen(state=home),
            ownership=Ownership(owner=Owner.OURS if live or home is State.IDLE else Owner.FREE),
            unanswered=unanswered or UnansweredCalls(),
        )
        self._context, self._number, self._bindings = context, number, 0
        self._in_flight = 0
        """The number of mutating calls that are under way."""
        self._claims: dict[str, asyncio.Task[bool]] = {}
        """The claims on machines that the kit created, by operation id. The result is whether the kit won the claim."""
        self._slot_check: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()

    @property
    def state(self) -> State:
        """The state that the machine showed last."""
        return self.record.seen.state

    @property
    def ownership(self) -> Ownership:
        """The owner of the machine, and what is known about earlier owners."""
        return self.record.ownership

    @property
    def live(self) -> bool:
        """Returns whether the machine has a host that belongs to the kit."""
        return self.record.ownership.live

    @property
    def may_be_alive(self) -> bool:
        """Returns whether the kit has started the machine, or may have: a Create was not answered."""
        return self.live or self.unanswered.create

    @property
    def touched(self) -> bool:
        """Returns whether a mutating call was ever sent, or was about to be."""
        return self.record.calls.touched

    @property
    def unanswered(self) -> UnansweredCalls:
        """Mutating calls that were not answered and may still arrive."""
        return self.record.unanswered

    @property
    def cluster(self) -> str:
        """The cluster that a Configure binds it to by default; during a lease, always the same."""
        return f"{self._context.run}-m{self._number}-b{self._bindings}"

    @property
    def model(self) -> FleetModel:
        """The model of the run's fleet."""
        return self._context.model

    @property
    def patience(self) -> Patience:
        """The maximum times that its transitions may take."""
        return self._context.patience

    def without_history(self, *, live: bool) -> Machine:
        """Returns the same machine without its past, so that a long run needs no more memory than a short one."""
        other = Machine(self.id, self._context, number=self._number, home=self.home, shard=self.shard)
        other.edge_shard = self.edge_shard
        other.record = self.record.without_history(live=live or self.home is State.IDLE)
        return other

    def has_default_binding(self, seen: pb.Machine) -> bool:
        """Returns whether `seen` is bound as `drive_to` binds it, without traces of an earlier lease."""
        return seen.cluster == self.cluster and not seen.shard_metadata

    def rename_binding(self) -> None:
        """Changes the default cluster unless the machine is bound, so that each lease gets a binding of its own."""
        if self.state in (State.SPECULATIVE, State.IDLE):
            self._bindings += 1

    # The six RPCs. The default token is the next one of the machine's own shard.

    async def create(
        self, token: TokenSource | None = None, *, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """Sends a Create, with a fresh token of the machine's shard unless a token or another shard is given."""
        return await self._mutate(Verb.CREATE, token, client, lambda c, t: c.create(self.id, t, timeout=timeout))

    async def configure(
        self,
        token: TokenSource | None = None,
        *,
        cluster: str | None = None,
        metadata: Mapping[str, str] | None = None,
        blob: bytes = b"#!conformance",
        client: Client | None = None,
        timeout: float | None = None,
    ) -> Call:
        """Sends a Configure for `cluster`; by default, for the machine's own cluster."""
        name = self.cluster if cluster is None else cluster
        self.record = replace(self.record, clusters=self.record.clusters | {name})

        def send(client: Client, token: Token) -> Awaitable[Call]:
            return client.configure(self.id, token, cluster=name, metadata=metadata, blob=blob, timeout=timeout)

        return await self._mutate(Verb.CONFIGURE, token, client, send)

    async def drain(
        self,
        token: TokenSource | None = None,
        *,
        grace: int = DEFAULT_GRACE_SECONDS,
        client: Client | None = None,
        timeout: float | None = None,
    ) -> Call:
        """Sends a Drain with `grace` seconds. A Drain without grace may legally end in FAILED (LIF-12)."""
        return await self._mutate(
            Verb.DRAIN, token, client, lambda c, t: c.drain(self.id, t, grace=grace, timeout=timeout)
        )

    async def delete(
        self, token: TokenSource | None = None, *, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """Sends a Delete."""
        return await self._mutate(Verb.DELETE, token, client, lambda c, t: c.delete(self.id, t, timeout=timeout))

    async def call(
        self,
        verb: Verb,
        token: TokenSource | None = None,
        *,
        client: Client | None = None,
        timeout: float | None = None,
    ) -> Call:
        """Sends the mutating call of `verb`, with its defaults."""
        send: Callable[..., Awaitable[Call]] = getattr(self, verb.value.lower())
        return await send(token, client=client, timeout=timeout)

    async def get(self) -> Call:
        """Reads the machine. One Get per machine at a time: other callers wait meanwhile.

        Raises Disturbed if another client has changed it.
        """
        async with self._reading:
            call = await self._context.client.get(self.id)
        if call.answered_ok:
            self._context.pace.note_call(call.rpc, call.ended - call.started)
        if call.answered_ok and not is_other_machine(call.response, self.id):
            self._note_reading(call.response)
        return call

    async def read(self) -> pb.Machine:
        """Returns the machine as Get shows it. Raises NoAnswer if Get is not answered OK."""
        call = await retry_while_overloaded(self.get, insists=self.policy.insists)
        if not call.answered_ok:
            raise NoAnswer(f"Get of {self.id} answered {call.outcome()}")
        machine: pb.Machine = call.response
        if is_other_machine(machine, self.id):
            raise NoAnswer(f"Get of {self.id} showed another machine, {machine.id[:60]!r}")
        return machine

    async def settle(self, *, patience: float | None = None) -> SettleResult:
        """Reads until the machine is in a stable state, or for `patience` seconds. No state raises an error."""
        clock = self._context.client.now
        started, states = clock(), list[State]()
        limit = patience or self._context.patience.for_state(self.state)
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

    async def _mutate(self, verb: Verb, source: TokenSource | None, client: Client | None, send: Send) -> Call:
        shared = self._context.client
        client = client or shared
        token, shard = choose_token(source, self.shard)
        call = MutatingCall(
            verb=verb,
            machine_id=self.id,
            token=token,
            shard=shard,
            client=client,
            shared=client is shared,
            send=partial(send, client),
        )
        return await shared.mutating.run(self._perform(call))

    async def _perform(self, call: MutatingCall) -> Call:
        begins_life = call.verb is Verb.CREATE and not self.live
        if begins_life:
            self._reserve_create(call.token)
        sent_before = self.record.calls.sent if self.record.rests_idle and not self._in_flight else None
        self._in_flight += 1
        try:
            try:
                await self._prepare_to_send(call, begins_life=begins_life)
                outcome = await self._send(call, begins_life=begins_life)
            except BaseException:
                # The meter ends the reservation of a Create.
                self._context.meter.answered(call.verb, self.id, "", self._context.client.now(), price=0.0)
                raise
            if self.home is State.SPECULATIVE and self.record.calls.sent - 1 == sent_before and outcome.no_delete:
                self.record = self.record.without_delete()
            return await self._note_outcome(call, outcome, begins_life=begins_life)
        finally:
            self._in_flight -= 1
            if begins_life:
                self.record = self.record.create_ended()

    def _reserve_create(self, token: Token) -> None:
        """Reserves a Create in the bill. Raises BudgetSpent if it would exceed the budget."""
        self._context.meter.reserve(self.id)
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
            await self.read()  # another client may have taken the slot in the meantime
        if self.ownership.owner is Owner.OTHER_CLIENT and self.state is not State.SPECULATIVE:
            # Never drive a machine that the kit does not own, whatever the policy says about unexplained changes.
            raise Disturbed(f"{self.id} is {self.state.name}: another client has started it")

    async def _check_slot(self, token: Token) -> None:
        """Checks that the slot is still free once the intent is on disk: another client may be faster than the disk."""
        await self._write_intent(Verb.CREATE, token)
        if self.home is not State.SPECULATIVE or self.unanswered.create:
            return
        if state_of((await self.read()).state) is not State.SPECULATIVE:
            self.disown()

    async def _write_intent(self, verb: Verb, token: Token) -> None:
        await self._context.ledger.write_intent(self.id, verb, token, home=self.home, seen=self.state)

    async def _send(self, call: MutatingCall, *, begins_life: bool) -> CallOutcome:
        self.record = self.record.sent(call.verb, begins_life=begins_life)
        number = self.record.calls.sent
        retry = Retry(
            state_before=self.state,
            next_token=partial(self._next_token, call.verb, call.shard or self.shard),
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

    async def _next_token(self, verb: Verb, shard: Shard) -> Token:
        token = shard.next()
        await self._write_intent(verb, token)
        return token

    async def _note_outcome(self, call: MutatingCall, outcome: CallOutcome, *, begins_life: bool) -> Call:
        """Records the outcome of the call. Raises Disturbed if another client has created the machine first."""
        answer = outcome.call
        self.violation = self.violation or outcome.violation
        # An ack without an operation id is identified by its token.
        operation = (answer.operation_id or str(call.token)) if answer.answered_ok else ""
        price = answer.price if answer.answered else 0.0
        new = self._context.meter.answered(call.verb, self.id, operation, answer.ended, price=price)
        if new and not answer.retried:
            self._context.pace.note_call(call.verb.value, answer.ended - answer.started)
        if not answer.answered or answer.code in UNCERTAIN_CODES or (answer.retried and not answer.answered_ok):
            self._note_unanswered(call, self._doubt(call.verb, answer))
        self.record = self.record.answered(self.id, call.verb, answer, new=new, begins_life=begins_life)
        if begins_life and operation:
            await self._claim(operation)
            if self.id not in self._context.ledger.open:
                # It was disowned while this call was in flight, but belongs to the kit.
                await self._context.ledger.write_intent(
                    self.id, call.verb, call.token, home=self.home, seen=State.SPECULATIVE
                )
        return answer

    def _doubt(self, verb: Verb, answer: Call) -> Doubt:
        if not answer.answered:
            return Doubt.LOST
        return Doubt.REFUSED if answer.busy and self.record.seen.without_edge(verb) else Doubt.UNCERTAIN

    def _note_unanswered(self, call: MutatingCall, doubt: Doubt = Doubt.LOST) -> None:
        self.record = self.record.not_answered(call.verb, call.token, doubt)
        if call.verb is Verb.CREATE and doubt is not Doubt.REFUSED:
            self._context.meter.note_unanswered(self.id)

    async def _claim(self, operation_id: str) -> None:
        """Claims the machine that the operation has created. Raises Disturbed if another client was first."""
        if operation_id not in self._claims:
            if self.live:
                return
            claim = claim_ownership(self._context.client, self.id, operation_id, shard=self.shard.id)
            self._claims[operation_id] = background.start(claim)
        self.record = self.record.contested()
        if await background.wait(self._claims[operation_id]):
            self.record = self.record.claimed()
            self._context.model.take(self.id)
            return
        self.record = self.record.claim_lost()
        self._note_disowned()
        raise Disturbed(f"another client created {self.id} at the same time")

    # Readings.

    def _note_reading(self, shown: pb.Machine) -> None:
        """Records what Get has shown. Raises Disturbed if another client has changed the machine."""
        context = self._context
        reading = machine_record.read(
            self.record,
            self.id,
            shown,
            home=self.home,
            run=context.run,
            blames_provider=self.policy.blames_provider,
        )
        self.record = reading.record
        if reading.disowned:
            self._note_disowned()
        if reading.disturbance:
            raise Disturbed(reading.disturbance)
        if reading.ended is not None:
            context.meter.note_duration(reading.ended.verb, context.client.now() - reading.ended.since)
            context.pace.note_transition(reading.ended.verb, context.client.now() - reading.ended.sent)
        if reading.at_rest:
            context.ledger.note_settled(self.id, self.state, host=shown.host.ref)
        if reading.returned:
            context.model.release(self.id)
            context.meter.note_released(self.id, context.client.now())

    def disown(self) -> None:
        """Records that another client owns the machine."""
        self.record = self.record.disowned()
        self._note_disowned()

    def _note_disowned(self) -> None:
        """Updates the bill and the ledger: the machine costs the kit nothing more, and a sweep must not touch it."""
        self._context.model.release(self.id)
        self._context.meter.note_released(self.id, self._context.client.now())
        self._context.ledger.note_lost(self.id)

    async def drive_to(self, to: State, *, allow_tokenless: bool = False) -> pb.Machine:
        """Drives the machine to a stable state by the shortest path, and judges nothing.

        `allow_tokenless`: if a broken fence rejects even the newest token, sends the call without one (FEN-14).
        Raises Unprepared if the machine does not get there, Disturbed if another client owns it.
        """
        return await Drive(self, to, allow_tokenless=allow_tokenless).run()

    def may_have_been_dropped(self, call: Call) -> bool:
        """Returns whether fault injection may have dropped the response of a call of the run's own client."""
        return self._context.client.may_have_been_dropped(call)

    # Recovery: after calls that were not answered.

    async def may_be_ours(self) -> bool:
        """Returns whether an unanswered call may have started the machine, if it lives.

        Raises NoAnswer if that cannot be determined, and from then on each time: the question has spent the token.
        Not asked of a machine that another client has bound: asking the fence takes a Drain, which would unbind it.
        """
        shown = await self.read()
        if state_of(shown.state) is State.SPECULATIVE:
            return True
        free = not shown.cluster and state_of(shown.state) is not State.CONFIGURED
        if not (free or self.named_by_run(shown.cluster)):
            return False
        try:
            return await any_applied(self.unanswered, self._ask_fence)
        except NoAnswer:
            self.record = self.record.asked_in_vain()
            raise

    async def assert_ownership(self) -> None:
        """Raises Disturbed if the machine lives, and neither the kit nor one of its unanswered calls has created it."""
        if not self.live and not await self.may_be_ours():
            self.disown()
            raise Disturbed(f"another client owns {self.id}: the kit's unanswered calls were not applied")

    async def fence_off(self) -> None:
        """Makes sure that unanswered calls can start nothing more. If one has started the machine, the kit owns it.

        Raises NoAnswer if the provider still does not answer, Disturbed if another client owns the machine.
        """
        await self.assert_ownership()
        await self.read()  # fail here rather than after one call for each shard
        await fence_off(self.unanswered, self._ask_fence, own=(self.shard, self.edge_shard))
        live = state_of((await self.read()).state) is not State.SPECULATIVE
        self.record = self.record.fenced_off(live=live)

    async def _ask_fence(self, token: Callable[[], Token]) -> Call:
        delays = INSISTENT_RETRY_DELAYS if self.policy.insists else ()
        return await ask_fence(self.id, self.drain, token, delays=delays)

    def named_by_run(self, cluster: str) -> bool:
        """Returns whether the name of a cluster is one of this run, for any of its machines."""
        return cluster.startswith(self._context.run)
