"""Providers that end a Drain wrongly if its grace period is 0, or longer than a second (LIF-1, LIF-7 and LIF-12)."""

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
    """Not a mutant: knows the grace periods of drains."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        if isinstance(request, Drain):
            self.__dict__.setdefault("graces", {})[operation.id] = request.grace
        return super().in_transition(verb, machine, request, operation)

    def grace(self, machine: Machine) -> int | None:
        graces: dict[str, int] = self.__dict__.get("graces", {})
        return graces.get(machine.operation.id) if machine.operation else None

    def graceful(self, machine: Machine) -> bool:
        return (self.grace(machine) or 0) > 1

    def graceless(self, machine: Machine) -> bool:
        return self.grace(machine) == 0


@mutant("LIF-1", "LIF-1a")
class GraceNeverEnds(_Graceful):
    """Never ends a Drain with a grace period of more than a second."""

    def is_running(self, machine: Machine, operation_id: str) -> bool:
        return super().is_running(machine, operation_id) and not self.graceful(machine)


@mutant("LIF-1", "LIF-1a")
class GraceIsNotOffered(Core):
    """Answers UNIMPLEMENTED to a Drain with a grace period of more than a second."""

    def validate_grace(self, request: Drain) -> None:
        super().validate_grace(request)
        if request.grace > 1:
            raise Rejected(Code.UNIMPLEMENTED, "no such grace period here")


@mutant("LIF-1", "LIF-1a")
class GraceIsUndone(_Graceful):
    """Ends a Drain with a grace period in CONFIGURED."""

    def settle(self, machine: Machine) -> Machine:
        undone = machine.state is State.DRAINING and self.graceful(machine)
        return replace(machine, state=State.CONFIGURED) if undone else super().settle(machine)


@mutant("LIF-7", "LIF-7a", also=("LIF-6d",), because="a List of the fleet shows it as well")
class GraceLeavesTheBinding(_Graceful):
    """Does not clear the binding after a Drain with a grace period of more than a second."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return machine if self.graceful(machine) else super().cleared_by_drain(machine)


# LIF-12: a grace period of 0.


@mutant("LIF-12", "LIF-12a")
class GraceZeroNeverEnds(_Graceful):
    """Never ends a Drain with a grace period of 0."""

    def is_running(self, machine: Machine, operation_id: str) -> bool:
        return super().is_running(machine, operation_id) and not self.graceless(machine)


@mutant("LIF-12", "LIF-12a")
class GraceZeroIsUndone(_Graceful):
    """Ends a Drain with a grace period of 0 in CONFIGURED."""

    def settle(self, machine: Machine) -> Machine:
        undone = machine.state is State.DRAINING and self.graceless(machine)
        return replace(machine, state=State.CONFIGURED) if undone else super().settle(machine)


@mutant("LIF-12", "LIF-12a")
class GraceZeroIsRefused(Core):
    """Refuses a grace period of 0."""

    def validate_grace(self, request: Drain) -> None:
        if request.grace <= 0:
            raise Rejected(Code.INVALID_ARGUMENT, "grace_period_seconds must be positive")


@mutant("LIF-12", "LIF-12a")
class GraceZeroFailsWithoutAWord(_Graceful):
    """Ends a Drain with a grace period of 0 in FAILED without a last_error."""

    def settle(self, machine: Machine) -> Machine:
        failed = machine.state is State.DRAINING and self.graceless(machine)
        return self.failed(machine, "") if failed else super().settle(machine)


@mutant(
    "LIF-12",
    "LIF-12a",
    "OPS-5d",
    "OPS-6c",
    also=("LIF-3a", "LIF-9c", "FEN-5c"),
    because="they observe machines that were drained a moment ago",
)
class DrainedMachinesComeBack(Core):
    """Binds a drained machine again a moment later."""

    def advance(self, now: float) -> None:
        super().advance(now)
        for machine in list(self.machines.values()):
            operation = machine.operation
            if (
                machine.state is State.IDLE
                and operation
                and operation.verb is Verb.DRAIN
                and now > operation.due + 0.05
            ):
                self.put(replace(machine, state=State.CONFIGURED, cluster="again"))
