"""Providers that read a long grace period wrongly, or act when it is over although the Drain has ended (§2)."""

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


def wrapped(number: int, bits: int) -> int:
    """Returns a number as a signed integer of so many bits shows it after an overflow."""
    return (number + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


class _Drains(Core):
    """Not a mutant: knows the grace period of each Drain."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        if isinstance(request, Drain):
            self.__dict__.setdefault("graces", {})[operation.id] = request.grace
        return super().in_transition(verb, machine, request, operation)

    def grace(self, machine: Machine) -> int:
        """Returns the grace period of the machine's Drain."""
        graces: dict[str, int] = self.__dict__.get("graces", {})
        return graces.get(machine.operation.id, 0) if machine.operation else 0


class _Overdue(_Drains):
    """Not a mutant: takes a Drain back whose grace period is negative once it is read."""

    def read(self, grace: int) -> int:
        """Returns the grace period as the provider reads it."""
        raise NotImplementedError

    def settle(self, machine: Machine) -> Machine:
        overdue = machine.state is State.DRAINING and self.read(self.grace(machine)) < 0
        return replace(machine, state=State.CONFIGURED) if overdue else super().settle(machine)


@mutant("LIF-1", "LIF-1c")
class GraceHas32Bits(_Overdue):
    """Reads the grace period as a 32-bit integer, and takes a Drain back whose time is over."""

    def read(self, grace: int) -> int:
        return wrapped(grace, 32)


@mutant("LIF-1", "LIF-1c")
class GraceIsCountedInNanoseconds(_Overdue):
    """Counts the grace period in nanoseconds with 64 bits, and takes a Drain back whose time is over."""

    def read(self, grace: int) -> int:
        return wrapped(grace * 1_000_000_000, 64)


@mutant("LIF-1", "LIF-1c")
class GraceIsCountedInMilliseconds(_Overdue):
    """Counts the grace period in milliseconds with 64 bits, and takes a Drain back whose time is over."""

    def read(self, grace: int) -> int:
        return wrapped(grace * 1_000, 64)


@mutant("LIF-1", "LIF-1c")
class TheEndOfTheGraceOverflows(_Overdue):
    """Adds the grace period to the time with 64 bits, and takes a Drain back whose time is over."""

    def read(self, grace: int) -> int:
        return wrapped(grace + 1_800_000_000, 64)


@mutant("LIF-1", "LIF-1c")
class GraceOf32BitsIsRefused(Core):
    """Refuses a grace period that is negative as a 32-bit integer."""

    def validate_grace(self, request: Drain) -> None:
        if wrapped(request.grace, 32) < 0:
            raise Rejected(Code.INVALID_ARGUMENT, "grace_period_seconds must not be negative")


@mutant("LIF-1", "LIF-1c")
class LongGracesFail(_Drains):
    """Ends a Drain with a grace period above a day in FAILED."""

    def settle(self, machine: Machine) -> Machine:
        long = machine.state is State.DRAINING and self.grace(machine) > 86_400
        return (
            self.failed(machine, "the pod disruption budget allows no such grace") if long else super().settle(machine)
        )


@mutant("LIF-1", "LIF-1c")
class AnOverflowIsAnException(Core):
    """Fails with an exception after it has begun a Drain whose grace period has more than 34 bits."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if isinstance(request, Drain) and request.grace >= 1 << 34:
            self.put(replace(machine, state=State.DRAINING))
            raise OverflowError("date value out of range")
        return super().start(verb, machine, request, now)


@mutant("LIF-6", "LIF-6a", whole=True)
class ALongDrainHidesItsCluster(_Drains):
    """Shows no cluster while it drains with a grace period of ten seconds or more."""

    def shown_in_get(self, machine: Machine) -> Machine:
        hidden = machine.state is State.DRAINING and self.grace(machine) >= 10
        return replace(machine, cluster="") if hidden else machine


@mutant("LIF-3", "LIF-3c", hold=10.0)
class TheTimerOfTheGraceUnbinds(Core):
    """Unbinds a machine when the grace period of its last Drain is over, whatever it is bound to by then."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if isinstance(request, Drain) and 0 < request.grace <= 60:
            self.__dict__.setdefault("timers", {})[machine.id] = now + request.grace
        return super().start(verb, machine, request, now)

    def advance(self, now: float) -> None:
        super().advance(now)
        timers: dict[str, float] = self.__dict__.setdefault("timers", {})
        for machine_id in [each for each, due in timers.items() if due <= now]:
            del timers[machine_id]
            machine = self.machines[machine_id]
            if machine.state is State.CONFIGURED:
                self.put(self.cleared_by_drain(replace(machine, state=State.IDLE)))
