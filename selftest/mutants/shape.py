"""SHP broken: machines without a type, prices that are none, errors where there are none."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fake_provider.core import Core
from fake_provider.errors import Rejected
from fake_provider.machine import CapacityType, Machine, State, Verb
from fake_provider.servicer import Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.request import Ack, Request


class Shown(Core):
    """Not a mutant: what a subclass makes of every machine that it shows."""

    def look(self, machine: Machine) -> Machine:
        return machine

    def shown_in_get(self, machine: Machine) -> Machine:
        return self.look(machine)

    def shown_in_list(self, machine: Machine) -> Machine:
        return self.look(machine)

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return self.look(machine)


# SHP-1


@mutant("SHP-1", "SHP-1a")
class TypeOnlyAsALabel(Shown):
    """The instance type is in the labels, where Kubernetes has it."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, instance_type="")


@mutant("SHP-1", "SHP-1a")
class RetiredMachinesHaveNoState(Core):
    """A machine that was taken out of service has a state that the contract has no word for."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        *_, last = self.machines.values()
        self.put(replace(last, state=State.UNSPECIFIED))


@mutant("SHP-1", "SHP-1a")
class BareMetalHasNoCapacityType(Shown):
    """What is neither on demand nor spot is left unspecified."""

    def look(self, machine: Machine) -> Machine:
        owned = machine.capacity_type is CapacityType.BARE_METAL
        return replace(machine, capacity_type=CapacityType.UNSPECIFIED) if owned else machine


@mutant("SHP-1", "SHP-1a", "SHP-1d", "SHP-1e")
class SlotsHaveNoType(Shown):
    """The type is known when the host is there."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, instance_type="") if machine.host is None else machine


@mutant("SHP-1", "SHP-1d")
class NoCapacityTypeWhileCreating(Shown):
    """Which market the host comes from is written when it has come."""

    def look(self, machine: Machine) -> Machine:
        under_way = machine.state is State.CREATING
        return replace(machine, capacity_type=CapacityType.UNSPECIFIED) if under_way else machine


@mutant("SHP-1", "SHP-1e")
class NoTypeWhileDeleting(Shown):
    """The host's record is gone before the host is."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, instance_type="") if machine.state is State.DELETING else machine


@mutant("SHP-1", "SHP-1c")
class NoTypeWhileConfiguring(Shown):
    """While it joins the cluster a machine is described by its node, which is not there yet."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, instance_type="") if machine.state is State.CONFIGURING else machine


@mutant("SHP-1", "SHP-1c")
class AnAckIsThin(Core):
    """An ack carries the id, the state and the binding."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, instance_type="", capacity_type=CapacityType.UNSPECIFIED)


@mutant("SHP-1", "SHP-1a")
class GetIsThin(Core):
    """Get does not join the table of types."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, instance_type="")


@mutant("SHP-1", "SHP-1b")
class ZoneOnlyAsALabel(Shown):
    """The zone is in the labels, where Kubernetes has it."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, zone="")


@mutant("SHP-1", "SHP-1b")
class ZoneOfTheWishOnly(Shown):
    """A slot has the zone that was asked for; where the host is then is not written down."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, zone="") if machine.host else machine


# SHP-2


@mutant("SHP-2", "SHP-2a")
class UnknownPriceIsNan(Shown):
    """A price that is not known is not a number."""

    def look(self, machine: Machine) -> Machine:
        owned = machine.capacity_type is CapacityType.BARE_METAL
        return replace(machine, price_per_hour=math.nan) if owned else machine


@mutant("SHP-2", "SHP-2a")
class UnknownPriceIsMinusOne(Shown):
    """A price that is not known is -1."""

    def look(self, machine: Machine) -> Machine:
        return machine if machine.price_per_hour else replace(machine, price_per_hour=-1.0)


@mutant("SHP-2", "SHP-2a")
class SoldOutIsInfinite(Shown):
    """What cannot be had costs infinitely much."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, price_per_hour=math.inf) if machine.state is State.SPECULATIVE else machine


@mutant("SHP-2", "SHP-2c")
class BoundIsSold(Shown):
    """A machine that is in use is not for sale: its price is -1."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, price_per_hour=-1.0) if machine.cluster else machine


@mutant("SHP-2", "SHP-2b")
class RiskInPercent(Shown):
    """The probability is given in percent."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, interruption_probability=machine.interruption_probability * 100)


@mutant("SHP-2", "SHP-2b")
class SpotIsSafe(Shown):
    """The cloud does not tell a probability, so it is 0."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, interruption_probability=0.0)


@mutant("SHP-2", "SHP-2b")
class UnknownRiskIsNegative(Shown):
    """A probability that is not known is -1."""

    def look(self, machine: Machine) -> Machine:
        return machine if machine.interruption_probability else replace(machine, interruption_probability=-1.0)


@mutant("SHP-2", "SHP-2c")
class RiskIsUnknownWhileDraining(Shown):
    """While a machine leaves its cluster its risk is nought by nought."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, interruption_probability=math.nan) if machine.state is State.DRAINING else machine


# SHP-3


class Resourced(Servicer):
    """Not a mutant: memory is written as a subclass writes it."""

    memory = "8Gi"
    field = "resources"

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        getattr(built, self.field).resources["memory"] = self.memory
        return built


@mutant("SHP-3", "SHP-3a")
class GigabytesWithAB(Resourced):
    """Memory in GB, as people write it."""

    memory = "8GB"


@mutant("SHP-3", "SHP-3a")
class UnitsAfterASpace(Resourced):
    """A space between number and unit."""

    memory, field = "8 Gi", "allocatable"


@mutant("SHP-3", "SHP-3a")
class LowerCaseUnits(Resourced):
    """Units in lower case."""

    memory = "8gi"


@mutant("SHP-3", "SHP-3a")
class DecimalComma(Resourced):
    """A number as the locale has it."""

    memory = "7,5Gi"


@mutant("SHP-3", "SHP-3a")
class UnknownIsEmpty(Resourced):
    """What is not known is the empty string."""

    memory, field = "", "allocatable"


@mutant("SHP-3", "SHP-3a")
class ANumberAsItIsPrinted(Resourced):
    """Infinite, as floats are printed."""

    memory = "inf"


@mutant("SHP-3", "SHP-3b")
class AllocatableIsSetAndEmpty(Servicer):
    """The field is always there, and filled when the node has joined."""

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        built.allocatable.resources.clear()
        built.allocatable.SetInParent()
        return built


@mutant("SHP-3", "SHP-3b")
class ResourcesAreSetAndEmpty(Servicer):
    """Resources are filled for machines that have a host."""

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        if machine.host is None:
            built.resources.resources.clear()
            built.resources.SetInParent()
        return built


# SHP-4


@mutant("SHP-4", "SHP-4a")
class NoErrorIsOk(Shown):
    """last_error says that all is well."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, last_error="OK")


@mutant("SHP-4", "SHP-4a")
class FailedWithoutAWord(Shown):
    """Why a machine has failed is in the log."""

    def look(self, machine: Machine) -> Machine:
        broken = machine.id == min(self.machines)
        return replace(machine, state=State.FAILED) if broken else machine


@mutant("SHP-4", "SHP-4b")
class ProgressIsAnError(Shown):
    """last_error is the status line: it says what is being done."""

    def look(self, machine: Machine) -> Machine:
        under_way = machine.state in (State.CONFIGURING, State.DRAINING)
        return replace(machine, last_error="waiting for the node") if under_way else machine


@mutant("SHP-4", "SHP-4b")
class AnAckCarriesAnError(Core):
    """The ack's last_error is the operation's result so far."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, last_error="<nil>")


@mutant("SHP-4", "SHP-4c")
class RefusalsAreErrors(Core):
    """Whatever goes wrong with a machine is written on it, a refused call too."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        try:
            return super().serve(verb, request, now)
        except Rejected as rejected:
            machine = self.machines.get(request.machine_id)
            # The kit's own claim of a machine is a refused Drain at IDLE; this one only minds the other calls.
            if machine and verb is not Verb.DRAIN:
                self.put(replace(machine, last_error=str(rejected)))
            raise
