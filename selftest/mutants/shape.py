"""Providers with missing types, invalid prices or wrong errors (contract §8, SHP)."""

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


def without_instance_type(machine: Machine) -> Machine:
    return replace(machine, instance_type=replace(machine.instance_type, name=""))


class Shown(Core):
    """Not a mutant: changes every machine in all answers."""

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
    """Leaves instance_type empty."""

    def look(self, machine: Machine) -> Machine:
        return without_instance_type(machine)


@mutant("SHP-1", "SHP-1a")
class RetiredMachinesHaveNoState(Core):
    """Shows a machine in the state UNSPECIFIED."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        *_, last = self.machines.values()
        self.put(replace(last, state=State.UNSPECIFIED))


@mutant("LIF-2", "LIF-2d", "SHP-1e")
class DeletedMachinesHaveNoState(Shown):
    """Shows the state UNSPECIFIED in a Get of a machine that is DELETING."""

    def shown_in_get(self, machine: Machine) -> Machine:
        leaving = machine.state is State.DELETING
        return replace(machine, state=State.UNSPECIFIED) if leaving else machine


@mutant("SHP-1", "SHP-1a")
class BareMetalHasNoCapacityType(Shown):
    """Leaves the capacity_type of bare-metal machines UNSPECIFIED."""

    def look(self, machine: Machine) -> Machine:
        owned = machine.capacity_type is CapacityType.BARE_METAL
        return replace(machine, capacity_type=CapacityType.UNSPECIFIED) if owned else machine


@mutant("SHP-1", "SHP-1a", "SHP-1d", "SHP-1e")
class SlotsHaveNoType(Shown):
    """Leaves the instance_type of machines without a host empty."""

    def look(self, machine: Machine) -> Machine:
        return without_instance_type(machine) if machine.host is None else machine


@mutant("SHP-1", "SHP-1d")
class NoCapacityTypeWhileCreating(Shown):
    """Leaves capacity_type UNSPECIFIED while CREATING."""

    def look(self, machine: Machine) -> Machine:
        under_way = machine.state is State.CREATING
        return replace(machine, capacity_type=CapacityType.UNSPECIFIED) if under_way else machine


@mutant("SHP-1", "SHP-1e")
class NoTypeWhileDeleting(Shown):
    """Leaves instance_type empty while DELETING."""

    def look(self, machine: Machine) -> Machine:
        return without_instance_type(machine) if machine.state is State.DELETING else machine


@mutant("SHP-1", "SHP-1c")
class NoTypeWhileConfiguring(Shown):
    """Leaves instance_type empty while CONFIGURING."""

    def look(self, machine: Machine) -> Machine:
        return without_instance_type(machine) if machine.state is State.CONFIGURING else machine


@mutant("SHP-1", "SHP-1c")
class AnAckIsThin(Core):
    """Leaves instance_type and capacity_type empty in acks."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(without_instance_type(machine), capacity_type=CapacityType.UNSPECIFIED)


@mutant("SHP-1", "SHP-1a")
class GetIsThin(Core):
    """Leaves instance_type empty in Get."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return without_instance_type(machine)


@mutant("SHP-1", "SHP-1b")
class ZoneOnlyAsALabel(Shown):
    """Leaves the zone empty."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, zone="")


@mutant("SHP-1", "SHP-1b", "SHP-1f")
class ZoneOfTheWishOnly(Shown):
    """Leaves the zone of machines with a host empty."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, zone="") if machine.host else machine


# SHP-2


@mutant("SHP-2", "SHP-2a")
class UnknownPriceIsNan(Shown):
    """Shows NaN as the price of bare-metal machines."""

    def look(self, machine: Machine) -> Machine:
        owned = machine.capacity_type is CapacityType.BARE_METAL
        return replace(machine, price_per_hour=math.nan) if owned else machine


@mutant("SHP-2", "SHP-2a")
class UnknownPriceIsMinusOne(Shown):
    """Shows -1 as an unknown price."""

    def look(self, machine: Machine) -> Machine:
        return machine if machine.price_per_hour else replace(machine, price_per_hour=-1.0)


@mutant("SHP-2", "SHP-2a")
class SoldOutIsInfinite(Shown):
    """Shows infinity as the price of SPECULATIVE machines."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, price_per_hour=math.inf) if machine.state is State.SPECULATIVE else machine


@mutant("SHP-2", "SHP-2c")
class BoundIsSold(Shown):
    """Shows -1 as the price of bound machines."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, price_per_hour=-1.0) if machine.cluster else machine


@mutant("SHP-2", "SHP-2b")
class RiskInPercent(Shown):
    """Shows the interruption probability in percent."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, interruption_probability=machine.interruption_probability * 100)


@mutant("SHP-2", "SHP-2b")
class SpotIsSafe(Shown):
    """Shows an interruption probability of 0 for SPOT machines."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, interruption_probability=0.0)


@mutant("SHP-2", "SHP-2b")
class UnknownRiskIsNegative(Shown):
    """Shows -1 as an unknown interruption probability."""

    def look(self, machine: Machine) -> Machine:
        return machine if machine.interruption_probability else replace(machine, interruption_probability=-1.0)


@mutant("SHP-2", "SHP-2c")
class RiskIsUnknownWhileDraining(Shown):
    """Shows NaN as the interruption probability while DRAINING."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, interruption_probability=math.nan) if machine.state is State.DRAINING else machine


# SHP-3


class Resourced(Servicer):
    """Not a mutant: writes memory in the subclass's format."""

    memory = "8Gi"
    field = "resources"

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        getattr(built, self.field).resources["memory"] = self.memory
        return built


@mutant("SHP-3", "SHP-3a")
class GigabytesWithAB(Resourced):
    """Writes memory as `8GB`."""

    memory = "8GB"


@mutant("SHP-3", "SHP-3a")
class UnitsAfterASpace(Resourced):
    """Writes memory with a space before the unit, `8 Gi`."""

    memory, field = "8 Gi", "allocatable"


@mutant("SHP-3", "SHP-3a")
class LowerCaseUnits(Resourced):
    """Writes memory with a lower-case unit, `8gi`."""

    memory = "8gi"


@mutant("SHP-3", "SHP-3a")
class DecimalComma(Resourced):
    """Writes memory with a decimal comma, `7,5Gi`."""

    memory = "7,5Gi"


@mutant("SHP-3", "SHP-3a")
class UnknownIsEmpty(Resourced):
    """Writes unknown memory as an empty string."""

    memory, field = "", "allocatable"


@mutant("SHP-3", "SHP-3a")
class ANumberAsItIsPrinted(Resourced):
    """Writes memory as `inf`."""

    memory = "inf"


@mutant("SHP-3", "SHP-3b")
class AllocatableIsSetAndEmpty(Servicer):
    """Sets allocatable without any resource."""

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        built.allocatable.resources.clear()
        built.allocatable.SetInParent()
        return built


@mutant("SHP-3", "SHP-3b")
class ResourcesAreSetAndEmpty(Servicer):
    """Sets resources without any resource on machines without a host."""

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        if machine.host is None:
            built.resources.resources.clear()
            built.resources.SetInParent()
        return built


# SHP-4


@mutant("SHP-4", "SHP-4a")
class NoErrorIsOk(Shown):
    """Sets last_error to "OK" on every machine."""

    def look(self, machine: Machine) -> Machine:
        return replace(machine, last_error="OK")


@mutant("SHP-4", "SHP-4a", also=("LST-1a",), because="List shows machines as FAILED that another state was asked for")
class FailedWithoutAWord(Shown):
    """Shows a FAILED machine without a last_error."""

    def look(self, machine: Machine) -> Machine:
        broken = machine.id == min(self.machines)
        return replace(machine, state=State.FAILED) if broken else machine


@mutant("SHP-4", "SHP-4b")
class ProgressIsAnError(Shown):
    """Sets last_error to the progress while CONFIGURING and DRAINING."""

    def look(self, machine: Machine) -> Machine:
        under_way = machine.state in (State.CONFIGURING, State.DRAINING)
        return replace(machine, last_error="waiting for the node") if under_way else machine


@mutant("SHP-4", "SHP-4b")
class AnAckCarriesAnError(Core):
    """Sets last_error in acks."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, last_error="<nil>")


@mutant("SHP-4", "SHP-4c")
class RefusalsAreErrors(Core):
    """Sets last_error when a call other than Drain is refused."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        try:
            return super().serve(verb, request, now)
        except Rejected as rejected:
            machine = self.machines.get(request.machine_id)
            # The kit claims a machine with a Drain that is refused at IDLE; other refusals are enough here.
            if machine and verb is not Verb.DRAIN:
                self.put(replace(machine, last_error=str(rejected)))
            raise
