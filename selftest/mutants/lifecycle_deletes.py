"""Providers without Delete, for all machines or some of them, that do not always say so (LIF-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, Operation, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.request import Ack, Request


@mutant("LIF-8", "LIF-8b", machines=64, latency="250ms", deletes=False)
class DeleteOfAMovingMachineIsAborted(Core):
    """Answers ABORTED instead of UNIMPLEMENTED to a Delete while a transition runs."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine = self.machines.get(request.machine_id)
        if verb is Verb.DELETE and machine and machine.moving:
            raise Rejected(Code.ABORTED, "busy")
        return super().serve(verb, request, now)


@mutant("LIF-8", "LIF-8b", machines=64, deletes=False)
class DeleteLooksTheMachineUp(Core):
    """Answers NOT_FOUND instead of UNIMPLEMENTED to a Delete of an unknown id once any machine is bound."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if verb is Verb.DELETE and any(machine.cluster for machine in self.machines.values()):
            self.find(request.machine_id)
        return super().serve(verb, request, now)


@mutant("LIF-8", "LIF-8b", machines=64, deletes=False)
class DeleteIsDoneAndNotOffered(Core):
    """Answers UNIMPLEMENTED to a Delete of an IDLE machine, but deletes it."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine = self.machines.get(request.machine_id)
        if verb is Verb.DELETE and machine and machine.state is State.IDLE:
            self.start(verb, machine, request, now)
        return super().serve(verb, request, now)


class _NoDeleteOf(Core):
    def without_delete(self, machine_id: str) -> bool:
        raise NotImplementedError

    def find(self, machine_id: str) -> Machine:
        machine = super().find(machine_id)
        if self.deleting and self.without_delete(machine_id):
            raise Rejected(Code.UNIMPLEMENTED, "this machine cannot be deleted")
        return machine

    deleting = False

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        self.deleting = verb is Verb.DELETE
        try:
            return super().serve(verb, request, now)
        finally:
            self.deleting = False


@mutant("LIF-8", "LIF-8d")
class EverySecondMachineHasNoDelete(_NoDeleteOf):
    """Answers UNIMPLEMENTED to a Delete of every second machine."""

    def without_delete(self, machine_id: str) -> bool:
        return int(machine_id[-1]) % 2 == 1


@mutant("LIF-8", "LIF-8d")
class OneMachineHasNoDelete(_NoDeleteOf):
    """Answers UNIMPLEMENTED to a Delete of the machine that was created first."""

    first = ""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        if verb is Verb.CREATE:
            self.first = self.first or machine.id
        return super().in_transition(verb, machine, request, operation)

    def without_delete(self, machine_id: str) -> bool:
        return machine_id == self.first
