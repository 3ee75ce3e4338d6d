"""Providers where a call changes another machine: its metadata, its operation or its binding (LIF-9, MET-3, OPS-2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.machine import Machine, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fake_provider.request import Request


class _Neighbours(Core):
    """Not a mutant: finds the other CONFIGURED machines."""

    def bound_others(self, machine: Machine) -> Iterator[Machine]:
        """Yields the CONFIGURED machines except this one."""
        for other in list(self.machines.values()):
            if other.id != machine.id and other.state is State.CONFIGURED:
                yield other

    def forget_operation(self, other: Machine) -> None:
        """Gives another machine a new operation id, so that a retry of its Configure is another operation."""
        if other.operation:
            self.put(replace(other, operation=replace(other.operation, id=f"{other.operation.id}-")))


@mutant("LIF-9", "LIF-9a")
class DrainTakesTheMetadataOfItsCluster(_Neighbours):
    """Clears the metadata of every machine of a cluster when one of them is drained."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        for other in self.bound_others(machine):
            if other.cluster == machine.cluster:
                self.put(replace(other, shard_metadata={}))
        return super().cleared_by_drain(machine)


@mutant("LIF-9", "LIF-9a")
class OperationsAreKeptByCluster(_Neighbours):
    """Remembers one operation for each cluster, so that a Configure replaces that of the cluster's other machines."""

    def settle(self, machine: Machine) -> Machine:
        if machine.state is State.CONFIGURING:
            for other in self.bound_others(machine):
                if other.cluster == machine.cluster:
                    self.forget_operation(other)
        return super().settle(machine)


@mutant("LIF-9", "LIF-9a", "LIF-9c")
class OperationsAreForgottenAtEachEnd(_Neighbours):
    """Forgets the operations of all bound machines when a Drain or a Delete ends."""

    def settle(self, machine: Machine) -> Machine:
        if machine.state in (State.DRAINING, State.DELETING):
            for other in self.bound_others(machine):
                self.forget_operation(other)
        return super().settle(machine)


@mutant("LIF-9", "LIF-9b")
class CreateForgetsTheOperationsOfOthers(_Neighbours):
    """Forgets the operations of all bound machines when a Create starts."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if verb is Verb.CREATE:
            for other in self.bound_others(machine):
                self.forget_operation(other)
        return super().start(verb, machine, request, now)


@mutant("LIF-9", "LIF-9c", alone="which Delete takes the metadata is random")
class DeleteTakesTheMetadataOfOthers(_Neighbours):
    """Clears the metadata of all bound machines when a Delete ends."""

    def cleared_by_delete(self, machine: Machine) -> Machine:
        for other in self.bound_others(machine):
            self.put(replace(other, shard_metadata={}))
        return super().cleared_by_delete(machine)


@mutant("LIF-9", "LIF-9a")
class DrainUnbindsByPrefix(_Neighbours):
    """Drains every machine whose id starts as the drained one's does, without the last two digits."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        for other in self.bound_others(machine):
            if other.id.startswith(machine.id[:-2]):
                self.put(super().cleared_by_drain(replace(other, state=State.IDLE)))
        return super().cleared_by_drain(machine)


@mutant("LIF-9", "LIF-9a")
class ConfigureGivesItsMetadataToTheCluster(_Neighbours):
    """Replaces the metadata of every machine of a cluster when another one is bound to it."""

    def settle(self, machine: Machine) -> Machine:
        if machine.state is State.CONFIGURING:
            for other in self.bound_others(machine):
                if other.cluster == machine.cluster:
                    self.put(replace(other, shard_metadata=machine.shard_metadata))
        return super().settle(machine)


@mutant("LIF-9", "LIF-9c")
class DeleteUnbindsTheNextMachine(_Neighbours):
    """Shows no cluster on all bound machines while a Delete runs."""

    def shown_in_get(self, machine: Machine) -> Machine:
        deleting = any(other.state is State.DELETING for other in self.machines.values())
        return replace(machine, cluster="") if deleting and machine.state is State.CONFIGURED else machine
