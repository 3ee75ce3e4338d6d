"""Providers without Delete that do not always say so (LIF-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import State, Verb
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
