"""Applies the rules of the contract to what a machine shows while the pool drives it, outside the behaviours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from conformance.core.lifecycle import State, Verb
from conformance.fleet import rules
from conformance.fleet.ownership import Owner

if TYPE_CHECKING:
    from conformance.fleet.context import FleetContext
    from conformance.fleet.machine_record import MachineRecord
    from conformance.fleet.policy import Policy
    from conformance.results.breach import Breach
    from conformance.rpc.call import Call


class Watched(Protocol):
    """A machine, as a witness needs it."""

    @property
    def id(self) -> str:
        """The machine's id."""

    @property
    def home(self) -> State:
        """The state in which the machine was found."""

    @property
    def policy(self) -> Policy:
        """The policy of the machine's calls."""

    @property
    def record(self) -> MachineRecord:
        """The known facts about the machine."""


class Witness:
    """Remembers the answers of one machine outside the behaviours that a rule needs, and applies the rules."""

    def __init__(self, machine: Watched, context: FleetContext) -> None:
        self._machine, self._context = machine, context
        self.in_flight = 0
        """The number of mutating calls that are under way."""
        self._last_get: Call | None = None
        """The last Get that was answered OK."""
        self._sent_before: int | None = None
        """The number of calls that were sent before the present one; None if another call may disturb it."""
        self._rest: tuple[State, int] | None = None
        """The state in which the pool left the machine, and the number of calls that were sent until then."""

    def got(self, get: Call) -> None:
        """Notes the answer to a Get, and how long it took."""
        if get.answered_ok:
            self._last_get = get
            self._context.pace.note_call(get.rpc, get.ended - get.started)

    def at_rest(self) -> None:
        """Notes that the pool leaves the machine in its present state: nothing may move it until the next call."""
        record = self._machine.record
        known = self._undisturbed and record.live and record.seen.state in (State.IDLE, State.CONFIGURED)
        self._rest = (record.seen.state, self._sent) if known else None

    def settled(self) -> None:
        """Checks the last Get, after which the pool decides how to drive the machine."""
        rest, self._rest, get = self._rest, None, self._last_get
        if not self._machine.policy.applies_rules or get is None:
            return
        self._note(rules.at_rest(self._machine.id, get))
        if rest is not None and rest[1] == self._sent:
            self._note(rules.moved_at_rest(self._machine.id, rest[0], get))

    def read(self, get: Call) -> None:
        """Checks any answer to a Get. A machine that the kit has not claimed may be another client's by now."""
        if self._machine.policy.applies_rules and self._machine.record.ownership.won:
            self._note(rules.lost_id(self._machine.id, get))

    def sending(self) -> None:
        """Notes that the pool is about to send a call."""
        self._sent_before = self._sent if self._undisturbed else None

    def answered(self, call: Call) -> None:
        """Checks the answer to the call of the pool."""
        if self._alone:
            self._note(rules.fenced_newer(self._machine.id, call, first=self._sent_before == 0))
        if call.answered_ok and self._machine.policy.applies_rules:
            self._note(rules.other_machine_in_ack(self._machine.id, call))
        if call.retried or not self._alone:
            self._sent_before = None

    def ended(self, verb: Verb, ack: Call) -> None:
        """Checks where the machine has settled after the call of the pool, which was acknowledged."""
        if self._sent_before is not None and self._last_get is not None:
            self._note(rules.after_call(self._machine.id, verb, ack, self._last_get))

    @property
    def _sent(self) -> int:
        return self._machine.record.calls.sent

    @property
    def _alone(self) -> bool:
        """Returns whether the pool's call is the only one since `sending`, and nothing else can have disturbed it."""
        return self._sent_before is not None and self._sent == self._sent_before + 1 and self._undisturbed

    @property
    def _undisturbed(self) -> bool:
        """Returns whether only the next call can change the machine: no other client's, late or lost call can."""
        machine, record = self._machine, self._machine.record
        return (
            machine.policy.applies_rules
            and machine.home is State.SPECULATIVE
            and record.ownership.owner is not Owner.OTHER_CLIENT
            and (record.ownership.won or not record.live)
            and not (record.unanswered or self.in_flight)
        )

    def _note(self, breach: Breach | None) -> None:
        if breach is not None:
            self._context.breaches.append(breach)
