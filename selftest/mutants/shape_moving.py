"""Providers whose machines have a wrong shape during a transition (contract §8, SHP)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.machine import Machine, State, Verb
from fake_provider.servicer import Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb


class _OnItsWay(Core):
    """Not a mutant: changes machines in one state in all answers."""

    state: State

    def otherwise(self, machine: Machine) -> Machine:
        raise NotImplementedError

    def shown_in_get(self, machine: Machine) -> Machine:
        return self.otherwise(machine) if machine.state is self.state else machine

    def shown_in_list(self, machine: Machine) -> Machine:
        return self.shown_in_get(machine)

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return self.shown_in_get(machine)


@mutant("SHP-4", "SHP-4d", latency="120ms")
class WaitingForCapacityIsAnError(_OnItsWay):
    """Sets last_error to the progress while CREATING."""

    state = State.CREATING

    def otherwise(self, machine: Machine) -> Machine:
        return replace(machine, last_error="waiting for capacity")


@mutant("SHP-4", "SHP-4e", latency="120ms")
class TerminationIsAnError(_OnItsWay):
    """Sets last_error to the progress while DELETING."""

    state = State.DELETING

    def otherwise(self, machine: Machine) -> Machine:
        return replace(machine, last_error="terminating")


@mutant("SHP-2", "SHP-2d", latency="120ms")
class PriceIsUnknownWhileCreating(_OnItsWay):
    """Shows NaN as the price while CREATING."""

    state = State.CREATING

    def otherwise(self, machine: Machine) -> Machine:
        return replace(machine, price_per_hour=math.nan)


@mutant("SHP-1", "SHP-1b", "SHP-1f", latency="120ms")
class NoZoneWhileConfiguring(_OnItsWay):
    """Leaves the zone empty while CONFIGURING."""

    state = State.CONFIGURING

    def otherwise(self, machine: Machine) -> Machine:
        return replace(machine, zone="")


@mutant("SHP-3", "SHP-3b", latency="120ms")
class AllocatableIsEmptyWhileConfiguring(Servicer):
    """Sets allocatable without any resource while CONFIGURING."""

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        if machine.state is State.CONFIGURING:
            built.allocatable.Clear()
            built.allocatable.SetInParent()
        return built
