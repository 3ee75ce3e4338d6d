"""The record of one machine: a frozen value, and pure functions from one record to the next for each call and reading.

The functions have no side effects: `Reading` returns what else must be done after a reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.ownership import Owner, Ownership
from conformance.fleet.unanswered import Doubt, UnansweredCalls

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.fencing import Token
    from conformance.rpc.call import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSeen:
    """The values that the machine showed last."""

    state: State
    host: str = ""
    """Its host when it was last at rest, or in a later ack."""
    returned_host: str = ""
    """The host that it had before it was last seen as a slot."""

    def without_edge(self, verb: Verb) -> bool:
        """Returns whether it was in a stable state from which `verb` has no edge (COD-2)."""
        return self.state.stable and self.state is not EDGES[verb].source


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A transition that the kit has started: when its call was sent and acknowledged, on the run's clock."""

    verb: Verb
    sent: float
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The mutating calls that the kit has made on the machine."""

    touched: bool = False
    """True if a mutating call was ever sent, or was about to be."""
    sent: int = 0
    """The number of calls that were sent, not counting retries."""
    creates_in_flight: int = 0
    create_sent: bool = False
    """True if a Create that could start the machine was ever sent, whatever the answer."""
    last_ok: Verb | None = None
    """The verb of the last call that was answered OK."""
    transition: Transition | None = None
    """The transition that is not known to have ended, if any."""
    given_up: int = 0
    """The number of Configures that the provider gave up: the machine was IDLE again, without a binding (FLT-1)."""
    delete_unimplemented: bool = False
    """True if a Delete was ever answered UNIMPLEMENTED while the machine rested at IDLE, and nothing else called it."""
    other_machines: frozenset[str] = frozenset()
    """Ids that acks showed instead of this machine's: those machines may have been started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRecord:
    """The known facts about a machine, as a value."""

    seen: LastSeen
    ownership: Ownership
    calls: Calls = Calls()
    unanswered: UnansweredCalls = field(default_factory=UnansweredCalls)
    clusters: frozenset[str] = frozenset({""})
    """Every cluster that it was bound to by the kit, or was seen bound to by another client."""

    @property
    def live(self) -> bool:
        """Returns whether the machine has a host that belongs to the kit."""
        return self.ownership.live

    @property
    def rests_idle(self) -> bool:
        """Returns whether the kit's machine was last seen at rest in IDLE, and no call of the kit can have moved it."""
        at_rest = self.seen.state is State.IDLE and self.calls.transition is None
        return at_rest and self.live and not self.unanswered

    def without_history(self, *, live: bool) -> MachineRecord:
        """Returns the record of the same machine in a new life, with what earlier lives may still cause."""
        calls = self.calls
        return MachineRecord(
            seen=LastSeen(state=self.seen.state),
            ownership=Ownership(owner=Owner.OURS if live else Owner.FREE),
            calls=Calls(
                touched=calls.touched,
                create_sent=calls.create_sent,
                delete_unimplemented=calls.delete_unimplemented,
                other_machines=calls.other_machines,
            ),
            unanswered=self.unanswered,
        )

    def disowned(self) -> MachineRecord:
        """Returns the record after another client was found to own the machine."""
        return replace(self, ownership=self.ownership.disowned(create_sent=self.calls.create_sent))

    # Before a call, in this order.

    def create_begun(self) -> MachineRecord:
        """Returns the record before a Create that can start the machine is sent."""
        return replace(self, calls=replace(self.calls, creates_in_flight=self.calls.creates_in_flight + 1))

    def about_to_send(self) -> MachineRecord:
        """Returns the record after a call was written to the ledger."""
        return self if self.calls.touched else replace(self, calls=replace(self.calls, touched=True))

    def sent(self, verb: Verb, *, begins_life: bool) -> MachineRecord:
        """Returns the record after a call was sent."""
        calls = replace(self.calls, sent=self.calls.sent + 1, create_sent=self.calls.create_sent or begins_life)
        deletes = verb is Verb.DELETE and self.live and self.seen.state is State.IDLE
        return replace(self, calls=calls, ownership=self._deleting(deletes))

    # After a call.

    def not_answered(self, verb: Verb, token: Token, doubt: Doubt = Doubt.LOST) -> MachineRecord:
        """Returns the record after a call of which it is unknown whether it was applied."""
        return replace(self, unanswered=self.unanswered.plus(verb, token, doubt))

    def answered(self, machine_id: str, verb: Verb, call: Call, *, new: bool, begins_life: bool) -> MachineRecord:
        """Returns the record after a call. `new`: it started a transition that no earlier call had started."""
        calls, seen, ownership = self.calls, self.seen, self.ownership
        named = call.answered_ok and bool(call.operation_id)
        if new and named and verb in (Verb.CONFIGURE, Verb.DELETE) and self._configures_since_before(call):
            # It starts from IDLE, so the earlier Configure was given up before any Get has shown that. Without an
            # operation id, a retry looks like a new operation (OPS-1).
            calls = replace(calls, given_up=calls.given_up + 1, transition=None)
        if new and calls.transition is None:
            calls = replace(calls, transition=Transition(verb=verb, sent=call.started, since=call.ended))
        if call.answered_ok:
            calls = calls if calls.last_ok is verb else replace(calls, last_ok=verb)
            shown = call.response.machine
            if shown.id == machine_id:
                # An instant Delete ends before any reading shows DELETING.
                ownership = self._deleting(verb is Verb.DELETE and self.live)
                host = shown.host.ref or ("" if begins_life else seen.host)
                seen = seen if host == seen.host else replace(seen, host=host)
            elif shown.id:
                calls = replace(calls, other_machines=calls.other_machines | {shown.id})
        if calls is self.calls and seen is self.seen and ownership is self.ownership:
            return self
        return replace(self, calls=calls, seen=seen, ownership=ownership)

    def _configures_since_before(self, call: Call) -> bool:
        """Returns whether a Configure that was acknowledged before this call is not known to have ended."""
        transition = self.calls.transition
        return (
            transition is not None
            and transition.verb is Verb.CONFIGURE
            and self.calls.last_ok is Verb.CONFIGURE
            and transition.since <= call.started
        )

    def without_delete(self) -> MachineRecord:
        """Returns the record after a Delete of the machine, at rest in IDLE, was answered UNIMPLEMENTED."""
        return replace(self, calls=replace(self.calls, delete_unimplemented=True))

    def create_ended(self) -> MachineRecord:
        """Returns the record after a Create that could start the machine, and the claim that follows it."""
        return replace(self, calls=replace(self.calls, creates_in_flight=self.calls.creates_in_flight - 1))

    def contested(self) -> MachineRecord:
        """Returns the record of a machine that the kit has created and claims."""
        return replace(self, ownership=self.ownership.contested())

    def claimed(self) -> MachineRecord:
        """Returns the record after the kit has won its claim: no Create is in doubt any more."""
        return replace(self, ownership=self.ownership.claimed(), unanswered=self.unanswered.without_create())

    def claim_lost(self) -> MachineRecord:
        """Returns the record after another client has won the claim."""
        return replace(self, ownership=self.ownership.claim_lost()).disowned()

    def fenced_off(self, *, live: bool) -> MachineRecord:
        """Returns the record after all unanswered calls were fenced off: they can no longer start anything."""
        return replace(self, ownership=self.ownership.found(live=live), unanswered=UnansweredCalls())

    def asked_in_vain(self) -> MachineRecord:
        """Returns the record after the fence was asked about unanswered calls, without a clear answer."""
        return replace(self, unanswered=replace(self.unanswered, asked_in_vain=True))

    def _deleting(self, deletes: bool) -> Ownership:
        return replace(self.ownership, deleting=True) if deletes else self.ownership


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The record after a Get, and its consequences for the ledger, the bill and the behaviour."""

    record: MachineRecord
    disowned: bool = False
    """Another client has taken the machine."""
    disturbance: str = ""
    """The change made by another client, if it must end the behaviour; otherwise empty."""
    ended: Transition | None = None
    """The transition that has reached its target."""
    at_rest: bool = False
    """The machine rests, and no Create can still arrive that moves it."""
    returned: bool = False
    """The machine was the kit's, and is a slot again."""


def read(
    record: MachineRecord, machine_id: str, shown: pb.Machine, *, home: State, run: str, blames_provider: bool
) -> Reading:
    """Returns the record and its consequences after the reading `shown`.

    `home` is the state in which the run named `run` found the machine. `blames_provider`: a change that another client
    may have made is not reported as a disturbance, so that the behaviour can judge it.
    """
    state, ours = state_of(shown.state), shown.cluster.startswith(run)
    given_up = _gives_up(record, shown)
    disowned = not ours and _taken_by_another(record, shown)
    if disowned:
        record = record.disowned()
        if not blames_provider:
            return Reading(
                record=record, disowned=True, disturbance=f"{machine_id} is {state.name}: another client has started it"
            )
    if state is not record.seen.state:
        record = replace(record, seen=replace(record.seen, state=state))
    if record.live and not ours and shown.cluster not in record.clusters:
        record = replace(record, clusters=record.clusters | {shown.cluster})
        if home is State.IDLE and record.calls.last_ok is not Verb.CONFIGURE:
            # The kit has no claim on a machine that it found IDLE. One that it claimed is its own, and is cleaned up.
            record, disowned = record.disowned(), True
        if not blames_provider:
            disturbance = f"another client has bound {machine_id} to {shown.cluster!r}"
            return Reading(record=record, disowned=disowned, disturbance=disturbance)
    if not state.stable:
        return Reading(record=record, disowned=disowned)
    if given_up:
        record = replace(record, calls=replace(record.calls, given_up=record.calls.given_up + 1))
    return _at_rest(record, state, shown.host.ref, disowned=disowned)


def _at_rest(record: MachineRecord, state: State, host: str, *, disowned: bool) -> Reading:
    seen, calls, ownership = record.seen, record.calls, record.ownership
    transition, creating = calls.transition, calls.creates_in_flight > 0
    slot = state is State.SPECULATIVE
    returned = slot and record.live and not creating
    if slot:
        seen = replace(seen, returned_host=seen.host or seen.returned_host)
        ownership = replace(ownership, deleting=False, owner=Owner.FREE if returned else ownership.owner)
    if slot or transition is not None or host != seen.host:
        record = replace(
            record, seen=replace(seen, host=host), calls=replace(calls, transition=None), ownership=ownership
        )
    return Reading(
        record=record,
        disowned=disowned,
        ended=transition if transition is not None and EDGES[transition.verb].target is state else None,
        # While a Create may still arrive, a free slot does not mean that the Create has failed.
        at_rest=not (slot and (creating or record.unanswered)),
        returned=returned,
    )


def _gives_up(record: MachineRecord, shown: pb.Machine) -> bool:
    """Returns whether the machine is IDLE without a binding directly after a Configure.

    There is no ack if the client left before it came: then a Get has shown CONFIGURING.
    """
    transition, bare = record.calls.transition, not (shown.cluster or shown.shard_metadata)
    if transition is None:
        configuring = record.live and record.seen.state is State.CONFIGURING
    else:
        configuring = transition.verb is record.calls.last_ok is Verb.CONFIGURE
    return configuring and bare and state_of(shown.state) is State.IDLE


def _taken_by_another(record: MachineRecord, shown: pb.Machine) -> bool:
    """Returns whether another client has started the slot, or has started it again after the kit's Delete."""
    state = state_of(shown.state)
    if record.calls.creates_in_flight:
        return False
    if not record.live:
        return not record.unanswered.create and state not in (State.SPECULATIVE, State.UNSPECIFIED)
    host = record.seen.host
    new_life = state is State.CREATING or bool(host and shown.host.ref not in ("", host))
    return record.ownership.deleting and new_life
