"""Providers that accept a call too early, while a transition runs (contract §4, COD-2 and COD-3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fleet import host_for
from fake_provider.machine import Machine, State, Verb
from fake_provider.request import Configure
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.request import Ack, Request


class _TakesEarly(Core):
    """Not a mutant: takes one verb in one transitional state as if its edge began there."""

    verb: Verb
    rests: State

    def early(self, verb: Verb, machine: Machine) -> bool:
        return verb is self.verb and machine.state is self.rests

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        return None if self.early(verb, machine) else super().retry_of(verb, machine, request)

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if not self.early(verb, machine):
            super().check_edge(verb, machine, request)


@mutant("COD-2", "COD-2j", latency="200ms")
class ConfigureHurriesAMachineThatComes(_TakesEarly):
    """Accepts a Configure of a CREATING machine."""

    verb, rests = Verb.CONFIGURE, State.CREATING

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), host=machine.host or host_for(machine.id))


@mutant("COD-2", "COD-2j", latency="600ms")
class DeleteCancelsCreate(_TakesEarly):
    """Cancels a running Create when Delete is called."""

    verb, rests = Verb.DELETE, State.CREATING


@mutant(
    "COD-2",
    "COD-2k",
    latency="200ms",
    also=("LIF-5a",),
    because="a machine that is launched again while it drains has another host afterwards",
)
class CreateRebuildsWhatIsDrained(_TakesEarly):
    """Launches a DRAINING machine again when Create is called."""

    verb, rests = Verb.CREATE, State.DRAINING


class _OwnConfigureWhileDraining(Core):
    """Not a mutant: answers OK to a Configure for the cluster of a DRAINING machine."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine = self.machines.get(request.machine_id)
        if not (isinstance(request, Configure) and machine and machine.state is State.DRAINING):
            return super().serve(verb, request, now)
        if machine.cluster != request.cluster:
            return super().serve(verb, request, now)
        self.fence(verb, request.machine_id, request.token)
        return self.ack(verb, self.new_operation_id(verb, machine), self.put(self.after(machine)))

    def after(self, machine: Machine) -> Machine:
        return machine


@mutant("COD-2", "COD-2h", latency="200ms")
class OwnConfigureStopsTheDrain(_OwnConfigureWhileDraining):
    """Stops a running Drain when Configure is called for the machine's own cluster."""

    def after(self, machine: Machine) -> Machine:
        return replace(machine, state=State.CONFIGURED)


@mutant("COD-2", "COD-2h", latency="200ms")
class WhatHasAClusterIsBound(_OwnConfigureWhileDraining):
    """Treats a Configure for a DRAINING machine's own cluster as a retry, because it compares clusters first."""


@mutant("COD-3", "COD-3d", "COD-2j", latency="200ms")
class ConfigureOfWhatComesIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION to a Configure of a CREATING machine."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        rejected = super().no_edge(verb, machine)
        early = verb is Verb.CONFIGURE and machine.state is State.CREATING
        return Rejected(Code.FAILED_PRECONDITION, rejected.message) if early else rejected


# Effects of a refused call.


@mutant("COD-2", "COD-2e", also=("LST-7a",), because="the refused Drain changes the machine")
class RefusedDrainForgetsTheCreate(Core):
    """Replaces the machine's last operation before it checks that a Drain has an edge."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        if verb is Verb.DRAIN and machine.state is State.IDLE and machine.created_by:
            self.put(replace(machine, created_by=f"{machine.created_by}-"))
        return super().no_edge(verb, machine)


@mutant(
    "COD-2",
    "COD-2d",
    "COD-2i",
    also=("OPS-6b",),
    because="the losing call of a race is refused as well",
    latency="200ms",
)
class RefusedCallsRenameTheOperation(Core):
    """Replaces the running operation before it checks that a call has an edge."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        if machine.moving and machine.operation and machine.operation.verb is not Verb.CREATE:
            renamed = replace(machine.operation, id=f"{machine.operation.id}-")
            self.put(replace(machine, operation=renamed))
            self.inventory.schedule(renamed.due, machine, renamed.id)
        return super().no_edge(verb, machine)


@mutant(
    "COD-2", "COD-2d", latency="200ms", alone="a refused call of one behaviour stops a machine that others wait for"
)
class ARefusalStopsTheBootstrap(Core):
    """Stops the machine's work queue on a refused call, so that the running transition never ends."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        try:
            super().check_edge(verb, machine, request)
        except Rejected:
            if machine.state is State.CONFIGURING and machine.operation:
                self.__dict__.setdefault("stopped", set()).add(machine.operation.id)
            raise

    def is_running(self, machine: Machine, operation_id: str) -> bool:
        return super().is_running(machine, operation_id) and operation_id not in self.__dict__.get("stopped", ())
