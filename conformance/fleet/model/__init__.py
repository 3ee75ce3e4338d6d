"""A model of the fleet: every answer of a run passes through it, whoever asked, and must agree with those before.

The model knows what each call has changed, and so what each later answer must show. It sends no calls, never waits, and
judges only machines that the kit owns, and only answers that no call without an answer and no concurrent call can
explain. A breach consists of the two or three calls that contradict each other.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from grpc import StatusCode

from conformance.core.lifecycle import State, Verb, state_of
from conformance.fleet.hosts import HostRecord
from conformance.fleet.model import lists, restarts, rules
from conformance.fleet.model.expected import (
    UNKNOWN,
    Binding,
    Expected,
    after_lost_call,
    after_overtaken_reading,
    after_reading,
    after_restart,
    after_retry,
    after_start,
)
from conformance.fleet.model.marks import Mark, Marks
from conformance.fleet.model.restarts import Ending
from conformance.rpc.call import Call, token_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.fencing import Token
    from conformance.fleet.model.expected import Operation
    from conformance.results.breach import Breach
MAX_OPERATIONS: Final = 50_000
"""The number of operation ids that are kept. The reuse of an older one is not found."""
MAX_BINDINGS: Final = 64
"""The number of bindings that are kept of each machine. A List does not lag behind by more."""
MAX_ACKS: Final = 2_000
"""The number of operation ids whose acks are kept as evidence."""
UNCERTAIN: Final = frozenset(
    {
        *(StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNKNOWN, StatusCode.INTERNAL),
        *(StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED),
    }
)
"""The codes that leave open whether a call was applied."""
VERBS: Final = {verb.value: verb for verb in Verb}
LIVING: Final = frozenset(State) - {State.UNSPECIFIED, State.SPECULATIVE, State.CREATING, State.FAILED}


@dataclass(slots=True, kw_only=True)
class _Track:
    """The known facts about one machine, and its calls that are under way."""

    expected: Expected = UNKNOWN
    owned: bool = False
    in_flight: int = 0
    last_tick: int = 0
    """The tick of the last start or end of a mutating call."""
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    """The bindings by cluster, which a List that lags may still show (LST-10)."""
    sent: list[Binding] = field(default_factory=list)
    """The bindings that were ever sent to it, whether the call was answered or not; the newest last."""
    returned_host: str = ""
    """The ref of the host of the life that has ended last."""
    refused: Breach | None = None
    """A retry that was refused: a breach, unless the next reading shows that the operation is over."""
    doubts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The newest token of each shard whose call was not answered and may still arrive."""


class _Ticket(NamedTuple):
    """A call under way."""

    tick: int
    machine_id: str = ""
    verb: Verb | None = None
    alone: bool = False
    """True if no other call to the machine was under way or in doubt when this one was sent."""
    token: Token | None = None
    mark: Mark | None = None
    """The mark that its token meets."""


class FleetModel:
    """The model of a run's fleet: an observer of its calls."""

    def __init__(self, run: str) -> None:
        """`run` is a part of the name of each shard that no other client uses."""
        self.breaches: list[Breach] = []
        """The first breach of each behaviour by each machine, in order."""
        self._known: set[tuple[str, str]] = set()
        self._marks = Marks(run)
        self._tracks: dict[str, _Track] = {}
        self._owned: dict[str, Call | None] = {}
        """The machines that the kit owns, each with the call that told of it last when it was taken."""
        self._operations: dict[str, Call | str] = {}
        """The acks of the transitions that were started, by operation id; of older ones a few words only."""
        self._acks: deque[str] = deque()
        """The operation ids whose acks are kept, the oldest first."""
        self._deletes: dict[StatusCode, Call] = {}
        """The first Delete of an IDLE machine with each answer."""
        self.hosts_shown: dict[str, HostRecord] = {}
        """The hosts that owned machines have shown in this run, by their refs."""
        self._hosts: dict[str, str] = {}
        """The owned machine that lives with a host, by its ref."""
        self._tick = 0
        self._restarts: list[tuple[float, Ending]] = []
        """The times at which the provider has ended, on the run's clock, and the way in which it did."""
        self._restart_tick = 0
        self._starting = False
        """True while the provider may not have its state back yet: nothing that it shows is judged (DUR-7)."""

    def note(self, breach: Breach) -> None:
        """Adds a breach, unless the same machine has broken the same behaviour before."""
        breach = restarts.across(breach, self._restarts)
        key = (breach.behaviour, breach.machine)
        if key not in self._known:
            self._known.add(key)
            self.breaches.append(breach)

    # Facts for behaviours that look at them again.

    def passed(self) -> list[tuple[str, Mark]]:
        """Returns the mark of each shard and machine, with the machine; the oldest first."""
        return self._marks.passed()

    def has_used_twice(self, operation_id: str) -> bool:
        """Returns whether two transitions have started with this operation id (OPS-3)."""
        used = (breach for breach in self.breaches if breach.behaviour in restarts.USED_OPERATIONS)
        return any(breach.calls[-1].operation_id == operation_id for breach in used)

    def resting(self, machine_id: str) -> Expected | None:
        """Returns what is known about an owned machine that rests, and whose calls have all been answered."""
        track = self._tracks.get(machine_id)
        if track is None or not track.owned or track.in_flight or track.doubts or track.expected.state is None:
            return None
        return track.expected

    def untouched_operation(self, machine_id: str) -> Operation | None:
        """Returns the last operation of a machine that rests where it has led, if no other call was sent since.

        A provider may take a later call that starts nothing for an operation, although it is not one.
        """
        expected = self.resting(machine_id)
        if expected is None or self._tracks[machine_id].last_tick > expected.since:
            return None
        return expected.operation

    # Ownership.

    @property
    def owned(self) -> frozenset[str]:
        """The machines that only the kit drives."""
        return frozenset(self._owned)

    def take(self, machine_id: str) -> None:
        """Notes that the kit owns the machine: no other client drives it."""
        track = self._track(machine_id)
        track.owned, track.returned_host = True, ""
        self._owned[machine_id] = track.expected.by

    def release(self, machine_id: str) -> None:
        """Notes that the machine is a free slot, or another client's."""
        track = self._track(machine_id)
        track.owned, track.expected, track.bindings = False, UNKNOWN, {}
        self._owned.pop(machine_id, None)
        for host in [host for host, owner in self._hosts.items() if owner == machine_id]:
            del self._hosts[host]

    # Restarts.

    def restarted(self, at: float, ending: Ending = Ending.KILL) -> None:
        """Notes that the provider has ended, and starts again: told when it is gone, `at` this time of the run's clock.

        Its connections have ended with it, so no call that was sent before can still arrive. The end of a transition
        that was running is open (DUR-3); if it was undone, its retry may have the same operation id. If it failed, an
        orderly stop may have cleaned it up. Everything else must be as it was acknowledged (DUR-1). Readings are judged
        again after `recovered`.
        """
        self._starting = True
        self._tick += 1
        self._restart_tick = self._tick
        self._restarts.append((at, ending))
        for track in self._tracks.values():
            if track.expected.verb is not None and track.expected.operation is not None:
                self._operations.pop(track.expected.operation.id, None)
            orderly = ending is not Ending.KILL and track.expected.verb is not None
            track.expected = UNKNOWN if orderly else after_restart(track.expected)
            track.doubts, track.refused = {}, None

    def repaired(self, machine_id: str) -> None:
        """Notes that a FAILED machine is being repaired: it may show any state from now on."""
        self._track(machine_id).expected = UNKNOWN

    def recovered(self) -> None:
        """Notes that the provider has had the time to get its state back."""
        self._starting = False

    # Calls.

    def sending(self, rpc: str, request: Any) -> _Ticket:
        """Notes that a call is about to be sent."""
        self._tick += 1
        verb = VERBS.get(rpc)
        token = token_of(request) if verb is not None else None
        if verb is None or token is None:
            return _Ticket(self._tick)
        track = self._track(request.machine_id)
        alone = not (track.in_flight or track.doubts)
        track.in_flight += 1
        track.last_tick = self._tick
        if verb is Verb.CONFIGURE:
            track.sent.append(Binding(cluster=request.cluster_id, metadata=dict(request.shard_metadata)))
            del track.sent[:-MAX_BINDINGS]
        mark = self._marks.sending(token, request.machine_id)
        return _Ticket(self._tick, request.machine_id, verb, alone, token, mark)

    def ended(self, ticket: _Ticket, call: Call | None) -> None:
        """Notes how a call has ended. Without a `call`, its caller was cancelled."""
        self._tick += 1
        if ticket.verb is not None and ticket.token is not None:
            self._mutated(ticket, ticket.verb, ticket.token, call)
        elif call is not None and call.answered and not self._starting:
            if call.fenced:
                self.note(rules.of_fenced_read(call))
            elif call.rpc == "Get":
                self._read(ticket, call)
            elif call.rpc == "List" and call.ok:
                self._listed(ticket, call)

    def _mutated(self, ticket: _Ticket, verb: Verb, token: Token, call: Call | None) -> None:
        machine_id = ticket.machine_id
        track = self._track(machine_id)
        undisturbed = ticket.alone and track.last_tick == ticket.tick
        track.in_flight -= 1
        track.refused = None
        track.last_tick = self._tick
        if call is None or not call.answered or call.code in UNCERTAIN:
            if ticket.tick > self._restart_tick:
                track.doubts[token.shard] = max(token.numbers, track.doubts.get(token.shard, token.numbers))
            track.expected = after_lost_call(track.expected, verb)
            return
        if self._marks.judges(token):
            self._note(self._marks.answered(token, ticket.mark, call))
        if verb is Verb.DELETE and undisturbed and track.owned and track.expected.state is State.IDLE:
            self._deletes.setdefault(call.code, call)
            self._note(rules.of_partial_delete(self._deletes))
        if call.fenced:
            if track.owned:
                self._note(rules.of_leak(machine_id, track.expected, call))
            return
        if token.numbers > track.doubts.get(token.shard, token.numbers):
            # The fence refuses the older calls of this shard from now on, if they still arrive.
            del track.doubts[token.shard]
        if not call.ok:
            if not undisturbed:
                track.expected = after_lost_call(track.expected, verb)
            elif track.owned and track.expected.is_retry(verb):
                track.refused = rules.of_refused_retry(machine_id, track.expected, call)
            return
        if track.owned:
            self._note(rules.of_empty_operation(machine_id, call))
        self._acknowledged(track, verb, call, machine_id, undisturbed=undisturbed)

    def _acknowledged(self, track: _Track, verb: Verb, ack: Call, machine_id: str, *, undisturbed: bool) -> None:
        expected = track.expected
        if not undisturbed or (expected.cut is not None and expected.cut is not verb):
            track.expected = after_lost_call(expected, verb)
        elif expected.is_new(verb):
            self._started(track, verb, ack, machine_id)
        elif expected.may_be_new(verb, ack):
            track.expected = replace(after_start(expected, verb, ack, self._tick), binding=None)
        elif expected.is_retry(verb):
            track.expected = after_retry(expected, ack)
            if track.owned:
                self._note(rules.of_retry(machine_id, expected, ack))
                self._check_fields(track, machine_id, ack.response.machine, ack)
        elif expected.known:
            if track.owned:
                self._note(rules.of_missing_edge(machine_id, expected, verb, ack))
            if expected.verb is not None or (expected.state, verb) not in HARMLESS:
                track.expected = after_lost_call(expected, verb)

    def _started(self, track: _Track, verb: Verb, ack: Call, machine_id: str) -> None:
        operation = ack.response.operation_id
        track.expected = after_start(track.expected, verb, ack, self._tick)
        if track.expected.binding is not None and verb is Verb.CONFIGURE:
            track.bindings.setdefault(track.expected.binding.cluster, []).append(track.expected.binding)
            if len(track.bindings) > MAX_BINDINGS:
                del track.bindings[next(iter(track.bindings))]
        if not (track.owned or verb is Verb.CREATE):
            return  # another client may have started it
        first = self._operations.setdefault(operation, ack) if operation else ack
        if first is not ack:
            self._note(rules.of_used_operation(machine_id, verb, first, ack))
        elif operation:
            self._forget_old_acks(operation)
        wrong = rules.of_ack(machine_id, verb, ack)
        if wrong is None:
            self._check_fields(track, machine_id, ack.response.machine, ack)
        else:
            self.note(wrong)

    def _forget_old_acks(self, newest: str) -> None:
        self._acks.append(newest)
        if len(self._acks) > MAX_ACKS:
            old = self._acks.popleft()
            ack = self._operations.get(old)
            if isinstance(ack, Call):
                self._operations[old] = f"{ack.rpc} of {ack.machine_id}"
        if len(self._operations) > MAX_OPERATIONS:
            del self._operations[next(iter(self._operations))]

    # Drives: default calls that the kit sends to prepare and return machines.

    def is_refusal(self, verb: Verb, call: Call) -> bool:
        """Returns whether it is worth repeating a call that was not answered OK (`refused`)."""
        return rules.is_refusal(verb, call)

    def refused(self, verb: Verb, call: Call, again: Call) -> None:
        """Notes that a call that has an edge was refused, and again when it was repeated."""
        track = self._tracks.get(call.machine_id)
        if track is not None and track.owned and not (track.in_flight or track.doubts):
            self._note(rules.of_refused_edge(track.expected, verb, call, again))

    def waited(self, verb: Verb, call: Call, shown: pb.Machine, seconds: float) -> None:
        """Notes what a machine shows at the end of a transition, or after all the patience of the run."""
        track = self._tracks.get(call.machine_id)
        if track is not None and track.owned and not (track.in_flight or track.doubts):
            self._note(rules.of_stuck_transition(track.expected, verb, call, shown, seconds))

    # Views of the fleet: a List, or a replica that follows the deltas, which a lane compares while machines rest.

    def disagreement(self, behaviour: str, view: str, shown: pb.Machine, call: Call) -> Breach | None:
        """Returns the breach of `behaviour` if a view shows a machine in another way than Get; the model keeps it not.

        `call` is the last one that the view has read.
        """
        track = self._tracks.get(shown.id)
        if track is None or track.in_flight or track.doubts:
            return None
        if track.owned:
            return lists.of_view(behaviour, view, track.expected, shown, call)
        return lists.of_returned_host(behaviour, view, track.returned_host, shown, call)

    def note_missing(self, breach: Breach | None) -> None:
        """Notes the breach of a view that lacks a machine, with the call that tells of the machine's state as well."""
        if breach is not None:
            by = self._track(breach.machine).expected.by
            self.note(breach if by is None else replace(breach, calls=(by, *breach.calls)))

    # Readings.

    def _read(self, ticket: _Ticket, get: Call) -> None:
        machine_id = get.machine_id
        track = self._tracks.get(machine_id)
        if track is None:
            if not get.ok:
                return
            track = self._track(machine_id)
        if track.owned and (get.code is StatusCode.NOT_FOUND or (get.ok and get.response.id != machine_id)):
            self._note(rules.of_lost_id(machine_id, track.expected, get))
            return
        if not get.ok or get.response.id != machine_id:
            return
        shown: pb.Machine = get.response
        if not self._is_current(track, ticket):
            track.expected = after_overtaken_reading(track.expected, shown)
            return
        unexplained = rules.of_state(machine_id, track.expected, shown, get)
        if unexplained is not None:  # its other fields only follow from that
            if track.owned:
                self.note(unexplained)
            track.expected = UNKNOWN
        elif track.owned:
            if shown.host.ref:
                self.hosts_shown[shown.host.ref] = HostRecord.of(shown)
            if rules.still_runs(track.expected, shown):
                self._note(track.refused)
            self._check_fields(track, machine_id, shown, get)
            self._check_host(track, machine_id, shown, get)
        if state_of(shown.state) is State.SPECULATIVE:
            track.returned_host = track.expected.host[1] or track.returned_host
        track.expected = after_reading(track.expected, shown, get, self._tick)

    def _listed(self, ticket: _Ticket, call: Call) -> None:
        self._note_all(lists.breaches_of_list(call, self._owned))
        for shown in call.response.machines:
            track = self._tracks.get(shown.id)
            if track is None or not track.owned:
                continue
            foreign = self._foreign_binding(track, shown, call)
            if foreign is not None:
                self.note(foreign)
                continue
            if not self._is_current(track, ticket):
                track.expected = after_overtaken_reading(track.expected, shown)
                continue
            self._note_all(rules.of_table(shown.id, shown, call))
            # The resources may be those of a workload: an earlier binding, which a List that lags shows, had others.
            if len(track.bindings.get(shown.cluster, ())) == 1 or not (track.bindings or shown.cluster):
                self._note(rules.of_listed_fields(shown.id, track.expected, shown, call))
            binding = track.expected.binding
            if binding is None or not binding.cluster or shown.cluster != binding.cluster:
                continue
            shown_metadata = dict(shown.shard_metadata)
            if all(shown_metadata != earlier.metadata for earlier in track.bindings.get(binding.cluster, ())):
                self._note_all(rules.of_metadata(shown.id, binding, shown, call))

    def _is_current(self, track: _Track, ticket: _Ticket) -> bool:
        """Returns whether no mutating call was under way, or may have been, while the answer was made."""
        quiet = not (track.in_flight or track.doubts) and track.last_tick < ticket.tick
        return quiet and track.expected.since < ticket.tick

    def _check_fields(self, track: _Track, machine_id: str, shown: pb.Machine, call: Call) -> None:
        if shown.id != machine_id:
            return
        self._note_all(rules.of_table(machine_id, shown, call))
        self._note(rules.of_host(machine_id, track.expected, shown, call))
        if track.expected.binding is None:
            return
        wrong = list(rules.of_binding(machine_id, track.expected.binding, shown, call))
        foreign = self._foreign_binding(track, shown, call) if wrong else None
        self._note_all(wrong if foreign is None else [foreign])

    def _foreign_binding(self, track: _Track, shown: pb.Machine, call: Call) -> Breach | None:
        if not (shown.cluster or shown.shard_metadata):
            return None
        return lists.of_foreign_binding(shown.id, shown, call, track.sent, self._bindings_of_others(shown.id))

    def _bindings_of_others(self, machine_id: str) -> Iterator[tuple[str, Binding]]:
        for other, track in self._tracks.items():
            if other != machine_id:
                started = chain.from_iterable(track.bindings.values())  # these have the call as evidence
                yield from ((other, binding) for binding in chain(started, track.sent))

    def _check_host(self, track: _Track, machine_id: str, shown: pb.Machine, get: Call) -> None:
        if state_of(shown.state) not in LIVING or not shown.host.ref:
            return
        other = self._hosts.setdefault(shown.host.ref, machine_id)
        if other != machine_id:
            rival = self._track(other)
            if rival.expected.state is None or rival.in_flight or rival.doubts:
                self._hosts[shown.host.ref] = machine_id  # the other one may have given it up
                return
            calls = (get,) if rival.expected.by is None else (rival.expected.by, get)
            self._note(rules.of_shared_host(machine_id, shown.host.ref, other, calls))

    def _track(self, machine_id: str) -> _Track:
        track = self._tracks.get(machine_id)
        if track is None:
            track = self._tracks[machine_id] = _Track()
        return track

    def _note(self, breach: Breach | None) -> None:
        if breach is not None:
            self.note(breach)

    def _note_all(self, breaches: Iterable[Breach]) -> None:
        for breach in breaches:
            self.note(breach)


HARMLESS: Final = frozenset({(State.IDLE, Verb.DRAIN), (State.SPECULATIVE, Verb.DELETE), (State.IDLE, Verb.CREATE)})
"""Calls without an edge that may be answered OK and change nothing (COD-2)."""
