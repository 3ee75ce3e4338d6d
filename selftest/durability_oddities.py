"""Providers that look unusual after a kill, and conform."""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fake_provider.errors import Code, Rejected
from fake_provider.fence import Scope
from fake_provider.machine import State, Verb
from selftest.durability_cuts import LATENCY, Cuts
from selftest.durable import ODDITIES, Durable, Restarted, durable

if TYPE_CHECKING:
    from fake_provider.machine import Machine
    from fake_provider.request import Filter, Listing, Request
    from fake_provider.store import Snapshot

for _odd in (
    Durable(name="ResumesEverything", story="Goes on with every transition after a kill.", latency=LATENCY),
    Durable(name="HasABackend", story="Starts and ends hosts in a backend.", latency=LATENCY, backend=True),
    Durable(name="HasFaults", story="Has triggers for failures; FAILED machines stay FAILED.", faults=True),
    Durable(name="StartsSlowly", story="Needs half a second to start.", startup=0.5),
    Durable(name="ServesNoHealth", story="Has no health service.", serving={"health": False}),
    Durable(name="GivesNoRevisions", story="Has no revisions.", options={"revisions": False}),
    Durable(name="IsInstant", story="Ends each transition before its ack.", latency="0s"),
    Durable(name="MarksPerShard", story="Keeps one mark per shard.", options={"scope": Scope.SHARD}),
    Durable(name="IsBareMetal", story="Has no Delete.", options={"deletes": False}),
):
    ODDITIES[_odd.name] = _odd


@durable(latency=LATENCY, machines=40)
class FailsEveryCutTransition(Cuts):
    """Makes every transition fail that a kill has cut short."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.failed(machine, "the provider was restarted")


@durable(latency=LATENCY)
class UndoesEveryCutTransition(Cuts):
    """Undoes every transition that a kill has cut short."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.undone(machine)


@durable(latency=LATENCY)
class EndsEveryCutTransitionAtOnce(Cuts):
    """Has the machine at its target when it serves again."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.settle(machine)


@durable(latency=LATENCY)
class UndoesWhatItHasGoneOnWith(Cuts):
    """Goes on with a transition for a moment, and undoes it then."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        self.kept.setdefault("undo", {})[machine.id] = time.monotonic() + 0.1
        return machine

    def advance(self, now: float) -> None:
        for machine_id, at in list(self.kept.get("undo", {}).items()):
            if time.monotonic() >= at:
                del self.kept["undo"][machine_id]
                if self.machines[machine_id].moving:
                    self.put(self.undone(self.machines[machine_id]))
        super().advance(now)


@durable(latency=LATENCY, faults=True, machines=40)
class CleansUpFailedMachines(Cuts):
    """Ends the hosts of failed machines when it starts, and makes cut transitions fail."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.failed(machine, "the provider was restarted")

    def restored_part(self, saved: Snapshot) -> Snapshot:
        clean = {
            each.id: replace(self.cleared_by_delete(each), state=State.SPECULATIVE, operation=None)
            for each in saved.machines.values()
            if each.state is State.FAILED
        }
        return super().restored_part(replace(saved, machines={**saved.machines, **clean}))


@durable()
class IdsAreRandom(Restarted):
    """Has random operation ids and random cursors, which it knows again after a kill."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        return str(uuid.uuid4())

    def encode_cursor(self, number: int) -> bytes:
        cursor = uuid.uuid4().bytes
        self.kept.setdefault("cursors", {})[cursor] = number
        return cursor

    def decode_cursor(self, cursor: bytes) -> int | None:
        known: dict[bytes, int] = self.kept.get("cursors", {})
        return known.get(cursor)


@durable(latency=LATENCY)
class IdsAreHashes(Cuts):
    """Names an operation after machine, verb and life; one that was undone has the same name when it is repeated."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        lives = self.kept.setdefault("lives", {})
        lives[machine.id] = lives.get(machine.id, 1) - 1
        return self.undone(machine)

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        lives = self.kept.setdefault("lives", {})
        lives[machine.id] = lives.get(machine.id, 0) + 1
        return hashlib.sha256(f"{machine.id}/{lives[machine.id]}".encode()).hexdigest()[:20]


@durable()
class CursorsAreForgotten(Restarted):
    """Does not know the cursors of an earlier process, and answers them with the full list."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, origin=saved.origin + 1, operations=saved.operations)


class _IsBusy(Restarted):
    """Refuses all calls with UNAVAILABLE for a moment after a kill."""

    seconds = 0.3

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ready_at = time.monotonic() + (self.seconds if self.kills else 0.0)

    def check_ready(self) -> None:
        if time.monotonic() < self.ready_at:
            raise Rejected(Code.UNAVAILABLE, "the state is being read")


@durable(serving={"health": False})
class RefusesReadsForAWhile(_IsBusy):
    """Refuses all calls with UNAVAILABLE for a moment after a kill, and has no health service."""

    def get(self, machine_id: str, now: float) -> Machine:
        self.check_ready()
        return super().get(machine_id, now)

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.check_ready()
        return super().list_machines(wanted, now)

    def serve(self, verb: Verb, request: Request, now: float) -> Any:
        self.check_ready()
        return super().serve(verb, request, now)


@durable()
class RefusesMutationsForAWhile(_IsBusy):
    """Refuses mutating calls with UNAVAILABLE for a moment after a kill; reads are answered."""

    def serve(self, verb: Verb, request: Request, now: float) -> Any:
        self.check_ready()
        return super().serve(verb, request, now)
