"""Providers that show a host or a cluster in a state that has none, or hide it in one that needs it (contract §12)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.fleet import host_for
from fake_provider.machine import Host, Machine, Operation, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.request import Configure, Request


@mutant("LIF-5", "LIF-5d")
class HostShownWhileCreating(Core):
    """Shows the host as soon as Create is accepted."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        machine = super().in_transition(verb, machine, request, operation)
        return replace(machine, host=host_for(operation.id)) if verb is Verb.CREATE else machine


@mutant("LIF-5", "LIF-5d")
class ListShowsAHostWhileCreating(Core):
    """Shows the coming host in List while CREATING."""

    def shown_in_list(self, machine: Machine) -> Machine:
        creating = machine.state is State.CREATING and machine.operation
        return replace(machine, host=host_for(machine.operation.id)) if creating and machine.operation else machine


@mutant("LIF-5", "LIF-5e")
class HostHiddenWhileDeleting(Core):
    """Detaches the host when Delete is accepted."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        machine = super().in_transition(verb, machine, request, operation)
        return replace(machine, host=None) if verb is Verb.DELETE else machine


@mutant("LIF-5", "LIF-5e")
class HostIsRenamedWhileDeleting(Core):
    """Shows another host.ref while DELETING."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        machine = super().in_transition(verb, machine, request, operation)
        deletes = verb is Verb.DELETE and machine.host
        return replace(machine, host=host_for(f"{machine.id}-terminating")) if deletes else machine


@mutant("LIF-5", "LIF-5f")
class HostsAreShared(Core):
    """Gives several machines the same host."""

    def new_host(self, machine: Machine, operation: Operation) -> Host:
        return host_for("the-only-one")


@mutant("LIF-6", "LIF-6e")
class LastClusterShownWhileConfiguring(Core):
    """Shows the cluster of the previous binding while CONFIGURING."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        last: dict[str, str] = self.__dict__.setdefault("last", {})
        self.__dict__.setdefault("before", {})[machine.id] = last.get(machine.id, "")
        last[machine.id] = request.cluster
        return super().bound(machine, request)

    def shown_in_get(self, machine: Machine) -> Machine:
        before = self.__dict__.get("before", {}).get(machine.id)
        return replace(machine, cluster=before) if before and machine.state is State.CONFIGURING else machine

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return self.shown_in_get(machine)


@mutant("LIF-6", "LIF-6f")
class ClusterShownWhileCreating(Core):
    """Shows a pool's name as the cluster while CREATING."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, cluster="spare-pool") if machine.state is State.CREATING else machine


@mutant("LIF-6", "LIF-6g")
class ClusterShownWhileDeleting(Core):
    """Shows a pool's name as the cluster while DELETING."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, cluster="returned-pool") if machine.state is State.DELETING else machine
