"""The record of one machine: a frozen value, and pure functions from one record to the next for each call and reading.

The functions have no effects: what else is to be done after a reading is returned with it (`Reading`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.ownership import Owner, Ownership
from conformance.fleet.unanswered import UnansweredCalls

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.fencing import Token
    from conformance.rpc.call import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSeen:
    """The values that the machine showed last."""

    state: State
    host: str = ""
    """Its host when it was last at rest, or in an ack since."""
    returned_host: str = ""
    """The host that it had before it was last seen to be a slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A transition that the kit has started, and when it was acknowledged, on the run's clock."""

    verb: Verb
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The mutating calls that the kit has made on the machine."""

    touched: bool = False
    """True if there was ever one, or was about to be."""
    sent: int = 0
    """The number of calls that were sent. A retry does not count."""
    creates_in_flight: int = 0
    create_sent: bool = False
    """True if a Create that could start the machine was ever sent, whatever the answer."""
    last_ok: Verb | None = None
    """The last one that was answered OK."""
    transition: Transition | None = None
    """The transition that is not known to have ended."""
    other_machines: frozenset[str] = frozenset()
    """Ids that acks showed instead of this machine's: those machines may have been started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRecord:
    """All that is known of a machine."""

    seen: LastSeen
    ownership: Ownership
    calls: Calls = Calls()
    unanswered: UnansweredCalls = field(default_factory=UnansweredCalls)
    clusters: frozenset[str] = frozenset({""})
    """Every cluster that it was bound to: by the kit, or, as was seen, by another client."""

    @property
    def live(self) -> bool:
        """Returns whether the machine has a host that belongs to the kit."""
        return self.ownership.live

    def without_history(self, *, live: bool) -> MachineRecord:
        """The record of the same machine in a new life, with what may still follow from the earlier ones."""
        calls = self.calls
        return MachineRecord(
            seen=LastSeen(state=self.seen.state),
            ownership=Ownership(owner=Owner.OURS if live else Owner.FREE),
            calls=Calls(touched=calls.touched, create_sent=calls.create_sent, other_machines=calls.other_machines),
            unanswered=self.unanswered,
        )

    def disowned(self) -> MachineRecord:
        """Another client owns the machine."""
        return replace(self, ownership=self.ownership.disowned(create_sent=self.calls.create_sent))

    # Before a call, in this order.

    def create_begun(self) -> MachineRecord:
        """A Create that can start the machine is about to be sent."""
        return replace(self, calls=replace(self.calls, creates_in_flight=self.calls.creates_in_flight + 1))

    def about_to_send(self) -> MachineRecord:
        """A call is in the ledger."""
        return replace(self, calls=replace(self.calls, touched=True))

    def sent(self, verb: Verb, *, begins_life: bool) -> MachineRecord:
        """A call is sent now."""
        calls = replace(self.calls, sent=self.calls.sent + 1, create_sent=self.calls.create_sent or begins_life)
        deletes = verb is Verb.DELETE and self.live and self.seen.state is State.IDLE
        return replace(self, calls=calls, ownership=self._deleting(deletes))

    # After it.

    def not_answered(self, verb: Verb, token: Token) -> MachineRecord:
        """A call was sent, and whether it was applied is not known."""
        return replace(self, unanswered=self.unanswered.plus(verb, token))

    def answered(self, machine_id: str, verb: Verb, call: Call, *, new: bool, begins_life: bool) -> MachineRecord:
        """A call has ended; `new` is whether it started a transition that no earlier call had started."""
        calls, seen, ownership = self.calls, self.seen, self.ownership
        if new and calls.transition is None:
            calls = replace(calls, transition=Transition(verb=verb, since=call.ended))
        if call.ok:
            calls = replace(calls, last_ok=verb)
            shown = call.response.machine
            if shown.id == machine_id:
                # A Delete that takes no time is over before any reading shows DELETING.
                ownership = self._deleting(verb is Verb.DELETE and self.live)
                seen = replace(seen, host=shown.host.ref or ("" if begins_life else seen.host))
            elif shown.id:
                calls = replace(calls, other_machines=calls.other_machines | {shown.id})
        return replace(self, calls=calls, seen=seen, ownership=ownership)

    def create_ended(self) -> MachineRecord:
        """A Create that could start the machine has ended, and so has the claim after it."""
        return replace(self, calls=replace(self.calls, creates_in_flight=self.calls.creates_in_flight - 1))

    def contested(self) -> MachineRecord:
        """The kit has created the machine and claims it."""
        return replace(self, ownership=self.ownership.contested())

    def claimed(self) -> MachineRecord:
        """The kit has won its claim: no Create is in doubt any more."""
        return replace(self, ownership=self.ownership.claimed(), unanswered=self.unanswered.without_create())

    def claim_lost(self) -> MachineRecord:
        """Another client has won the claim."""
        return replace(self, ownership=self.ownership.claim_lost()).disowned()

    def fenced_off(self, *, live: bool) -> MachineRecord:
        """No unanswered call can start anything any more."""
        return replace(self, ownership=self.ownership.found(live=live), unanswered=UnansweredCalls())

    def _deleting(self, deletes: bool) -> Ownership:
        return replace(self.ownership, deleting=self.ownership.deleting or deletes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The record after a Get, and what follows for the ledger, the bill and the behaviour."""

    record: MachineRecord
    disowned: bool = False
    """Another client has taken the machine."""
    disturbance: str = ""
    """The change that another client has made, if it is to end the behaviour; else empty."""
    ended: Transition | None = None
    """The transition that has reached its target."""
    at_rest: bool = False
    """The machine rests, and no Create can still arrive that moves it."""
    returned: bool = False
    """The machine was the kit's, and is a slot again."""


def read(
    record: MachineRecord, machine_id: str, shown: pb.Machine, *, home: State, run: str, blames_provider: bool
) -> Reading:
    """Returns what the reading `shown` says of a machine that the run named `run` has found in state `home`.

    `blames_provider`: a change that another client may have made is left to the behaviour, as the provider's doing.
    """
    state, ours = state_of(shown.state), shown.cluster.startswith(run)
    disowned = not ours and _taken_by_another(record, shown)
    if disowned:
        record = record.disowned()
        if not blames_provider:
            return Reading(record=record, disowned=True, disturbance=f"{machine_id} is {state.name}, and not by us")
    record = replace(record, seen=replace(record.seen, state=state))
    if record.live and not ours and shown.cluster not in record.clusters:
        record = replace(record, clusters=record.clusters | {shown.cluster})
        if home is State.IDLE and record.calls.last_ok is not Verb.CONFIGURE:
            # A machine that was found IDLE was never claimed. One that was claimed is the kit's, and is cleaned up.
            record, disowned = record.disowned(), True
        if not blames_provider:
            disturbed = f"somebody else has bound {machine_id} to {shown.cluster!r}"
            return Reading(record=record, disowned=disowned, disturbance=disturbed)
    if not state.stable:
        return Reading(record=record, disowned=disowned)
    return replace(_at_rest(record, state, shown.host.ref), disowned=disowned)


def _at_rest(record: MachineRecord, state: State, host: str) -> Reading:
    seen, calls, ownership = record.seen, record.calls, record.ownership
    transition, creating = calls.transition, calls.creates_in_flight > 0
    slot = state is State.SPECULATIVE
    returned = slot and record.live and not creating
    if slot:
        seen = replace(seen, returned_host=seen.host or seen.returned_host)
        ownership = replace(ownership, deleting=False, owner=Owner.FREE if returned else ownership.owner)
    return Reading(
        record=replace(
            record, seen=replace(seen, host=host), calls=replace(calls, transition=None), ownership=ownership
        ),
        ended=transition if transition is not None and EDGES[transition.verb].target is state else None,
        # While a Create may still arrive, a slot that is still a slot does not mean that the Create has failed.
        at_rest=not (slot and (creating or record.unanswered)),
        returned=returned,
    )


def _taken_by_another(record: MachineRecord, shown: pb.Machine) -> bool:
    """Returns whether a slot has come to life that is not the kit's, or a machine that it has deleted lives again."""
    state = state_of(shown.state)
    if record.calls.creates_in_flight:
        return False
    if not record.live:
        return not record.unanswered.create and state not in (State.SPECULATIVE, State.UNSPECIFIED)
    host = record.seen.host
    new_life = state is State.CREATING or bool(host and shown.host.ref not in ("", host))
    return record.ownership.deleting and new_life
