"""Providers that end a Drain wrongly if it has a grace period (contract §2, LIF-1 and LIF-7)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, Operation, State, Verb
from fake_provider.request import Drain
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.request import Request


class _Graceful(Core):
    """Not a mutant: knows which drains have a grace period."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        if isinstance(request, Drain) and request.grace:
            self.__dict__.setdefault("graces", set()).add(operation.id)
        return super().in_transition(verb, machine, request, operation)

    def graceful(self, machine: Machine) -> bool:
        return bool(machine.operation and machine.operation.id in self.__dict__.get("graces", ()))


@mutant("LIF-1", "LIF-1a")
class GraceNeverEnds(_Graceful):
    """Never ends a Drain with a grace period."""

    def is_running(self, machine: Machine, operation_id: str) -> bool:
        return super().is_running(machine, operation_id) and not self.graceful(machine)


@mutant("LIF-1", "LIF-1a")
class GraceIsNotOffered(Core):
    """Answers UNIMPLEMENTED to a Drain with a grace period."""

    def validate_grace(self, request: Drain) -> None:
        super().validate_grace(request)
        if request.grace:
            raise Rejected(Code.UNIMPLEMENTED, "no grace period here")


@mutant("LIF-1", "LIF-1a")
class GraceIsUndone(_Graceful):
    """Ends a Drain with a grace period in CONFIGURED."""

    def settle(self, machine: Machine) -> Machine:
        undone = machine.state is State.DRAINING and self.graceful(machine)
        return replace(machine, state=State.CONFIGURED) if undone else super().settle(machine)


@mutant("LIF-7", "LIF-7a", also=("LIF-6d",), because="a List of the fleet shows it as well")
class GraceLeavesTheBinding(_Graceful):
    """Does not clear the binding after a Drain with a grace period."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return machine if self.graceful(machine) else super().cleared_by_drain(machine)
