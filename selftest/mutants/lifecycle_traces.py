"""Providers that show a wrong id, host or binding, or keep an old one (contract §2, LIF-4 to LIF-8)."""

from __future__ import annotations

from dataclasses import replace

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fleet import host_for
from fake_provider.machine import Host, Machine, Operation, State, Verb
from fake_provider.request import Ack, Configure, Request
from selftest.mutant import mutant

# LIF-4: the id.


@mutant("LIF-4", "LIF-4b")
class SlotsAreNumberedAnew(Core):
    """Shows another id in Get after the machine was deleted."""

    def shown_in_get(self, machine: Machine) -> Machine:
        lived = machine.state is State.SPECULATIVE and machine.operation
        return replace(machine, id=machine.id + "-2") if lived else machine


@mutant("LIF-4", "LIF-4a")
class GetShowsTheInstanceId(Core):
    """Shows the host's id as the machine's id in Get."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, id=machine.host.ref) if machine.host else machine


@mutant(
    "LIF-4",
    "LIF-4a",
    "LIF-4b",
    also=("LIF-11a",),
    because="the machine in the ack is not the requested one",
)
class AckShowsTheInstanceId(Core):
    """Shows the host's id as the machine's id in acks."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, id=machine.host.ref) if machine.host else machine


@mutant("LIF-4", "LIF-4b")
class SlotsVanish(Core):
    """Answers NOT_FOUND for a machine after it was deleted."""

    def find(self, machine_id: str) -> Machine:
        machine = super().find(machine_id)
        if machine.state is State.SPECULATIVE and machine.operation:
            raise Rejected(Code.NOT_FOUND, "gone")
        return machine


# LIF-5: the host.


@mutant("LIF-5", "LIF-5a", also=("MET-1f",), because="it expects only the metadata of its machine to change")
class HostChangesAtConfigure(Core):
    """Changes the host at Configure."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), host=host_for(request.cluster))


@mutant("LIF-5", "LIF-5a")
class HostChangesAtDrain(Core):
    """Changes the host at Drain."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return replace(super().cleared_by_drain(machine), host=host_for(machine.cluster))


@mutant("LIF-5", "LIF-5a")
class HostHiddenWhileDraining(Core):
    """Shows no host while DRAINING in Get."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, host=None) if machine.state is State.DRAINING else machine


@mutant("LIF-5", "LIF-5a")
class HostMissingInAcks(Core):
    """Shows no host in acks."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, host=None)


@mutant("LIF-5", "LIF-5a", "LIF-5b", "LIF-5c")
class HostsHaveNoProvider(Core):
    """Leaves host.provider empty."""

    def new_host(self, machine: Machine, operation: Operation) -> Host:
        return replace(super().new_host(machine, operation), provider="")


@mutant("LIF-5", "LIF-5a", "LIF-5b", "LIF-5c")
class HostsHaveNoRef(Core):
    """Leaves host.ref empty."""

    def new_host(self, machine: Machine, operation: Operation) -> Host:
        return replace(super().new_host(machine, operation), ref="")


@mutant(
    "LIF-5",
    "LIF-5b",
    also=("LIF-9a", "LIF-9b"),
    because="a behaviour that compares a machine with an earlier read sees another host",
)
class HostRefIsMadeUpAtEachRead(Core):
    """Shows another host.ref in each Get."""

    def shown_in_get(self, machine: Machine) -> Machine:
        self.inventory.operations += 1
        return replace(machine, host=host_for(str(self.inventory.operations))) if machine.host else machine


@mutant("LIF-5", "LIF-5b", "LIF-5d", latency="100ms")
class HostIsPendingWhileCreating(Core):
    """Shows a temporary host.ref while CREATING."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        machine = super().in_transition(verb, machine, request, operation)
        return replace(machine, host=Host(provider="fake", ref="pending")) if verb is Verb.CREATE else machine


@mutant("LIF-5", "LIF-5b", "LIF-5c")
class SlotsHaveHosts(Core):
    """Shows a host on SPECULATIVE machines."""

    def put(self, machine: Machine) -> Machine:
        empty = machine.state is State.SPECULATIVE and not machine.host
        return super().put(replace(machine, host=host_for(machine.id)) if empty else machine)


@mutant("LIF-5", "LIF-5c", "LST-4a")
class ListShowsNoHosts(Core):
    """Shows no hosts in List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, host=None)


# LIF-6: the cluster.


@mutant("LIF-6", "LIF-6a")
class ClusterHiddenWhileDraining(Core):
    """Clears the cluster when a Drain starts instead of when it ends."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        machine = super().in_transition(verb, machine, request, operation)
        return replace(machine, cluster="") if verb is Verb.DRAIN else machine


@mutant("LIF-6", "LIF-6h")
class ClusterHiddenWhileConfiguring(Core):
    """Shows no cluster while CONFIGURING."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, cluster="") if machine.state is State.CONFIGURING else machine

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return self.shown_in_get(machine)


@mutant("LIF-6", "LIF-6a", "LIF-7a", "MET-2a")
class ClusterKeptAtIdle(Core):
    """Keeps the cluster after a Drain."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return replace(super().cleared_by_drain(machine), cluster=machine.cluster)


@mutant("LIF-6", "LIF-6c")
class ClusterLowercased(Core):
    """Converts cluster ids to lower case."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), cluster=request.cluster.lower())


@mutant("LIF-6", "LIF-6c")
class ClusterTrimmed(Core):
    """Trims whitespace from the ends of cluster ids."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), cluster=request.cluster.strip())


@mutant("LIF-6", "LIF-6c")
class ClusterAsATag(Core):
    """Replaces characters of cluster ids that an instance tag does not allow."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        tag = "".join(c if c.isascii() and (c.isalnum() or c in "-_ ") else "-" for c in request.cluster)
        return replace(super().bound(machine, request), cluster=tag)


@mutant("LIF-6", "LIF-6b")
class EmptyClusterIsBound(Core):
    """Accepts an empty cluster_id and ends in CONFIGURED."""

    def validate_cluster(self, request: Configure) -> None:
        pass


@mutant("LIF-6", "LIF-6b")
class EmptyClusterIsTheDefaultOne(Core):
    """Replaces an empty cluster_id by a default."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if isinstance(request, Configure) and not request.cluster:
            request = replace(request, cluster="default")
        return super().serve(verb, request, now)


@mutant("LIF-6", "LIF-6a", "LIF-6d", "LST-4a")
class ListShowsNoClusters(Core):
    """Shows no clusters in List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, cluster="")


@mutant("LIF-6", "LIF-6d")
class ListShowsAPoolAsCluster(Core):
    """Shows a pool's name as the cluster of unbound machines in List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, cluster=machine.cluster or "free-pool")


# LIF-7: rounds.


@mutant("MET-2", "MET-2a", "LIF-7a")
class MetadataKeptAtIdle(Core):
    """Keeps the metadata after a Drain."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return replace(super().cleared_by_drain(machine), shard_metadata=machine.shard_metadata)


@mutant(
    "SHP-4",
    "SHP-4b",
    "LIF-7a",
    also=("FEN-5f",),
    because="it compares two bindings, last_error included",
)
class LastErrorTellsOfTheDrain(Core):
    """Writes a note about the Drain to last_error."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return replace(super().cleared_by_drain(machine), last_error="drained with grace 0")


@mutant(
    "LIF-7",
    "LIF-7a",
    also=("LIF-6a", "LIF-6d", "LIF-6g", "MET-2a"),
    because="their machines may have been drained twice before",
)
class SecondRoundLeavesItsCluster(Core):
    """Keeps the cluster after the second and every later Drain of a machine."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        rounds: dict[str, int] = self.__dict__.setdefault("rounds", {})
        rounds[machine.id] = rounds.get(machine.id, 0) + 1
        cleared = super().cleared_by_drain(machine)
        return cleared if rounds[machine.id] == 1 else replace(cleared, cluster=machine.cluster)


@mutant("MET-2", "MET-2a", "LIF-7a")
class MetadataKeptInList(Core):
    """Shows the last binding's metadata in List at IDLE."""

    def shown_in_list(self, machine: Machine) -> Machine:
        kept: dict[str, Machine] = self.__dict__.setdefault("kept", {})
        if machine.cluster:
            kept[machine.id] = machine
        if machine.state is State.IDLE and machine.id in kept:
            return replace(machine, shard_metadata=kept[machine.id].shard_metadata)
        return machine

    def settle(self, machine: Machine) -> Machine:
        self.shown_in_list(machine)
        return super().settle(machine)


# LIF-8: Delete.


@mutant("LIF-8", "LIF-8a")
class HostKeptAfterDelete(Core):
    """Keeps the host after a Delete."""

    def cleared_by_delete(self, machine: Machine) -> Machine:
        return replace(super().cleared_by_delete(machine), host=machine.host)


@mutant("LIF-8", "LIF-8a")
class BindingComesBackAfterDelete(Core):
    """Shows the last binding's metadata again after a Delete."""

    def settle(self, machine: Machine) -> Machine:
        kept: dict[str, Machine] = self.__dict__.setdefault("kept", {})
        if machine.cluster:
            kept[machine.id] = machine
        settled = super().settle(machine)
        if settled.state is State.SPECULATIVE and machine.id in kept:
            return replace(settled, shard_metadata=kept[machine.id].shard_metadata)
        return settled


@mutant("LIF-8", "LIF-8a")
class ListKeepsTheHost(Core):
    """Shows a host on SPECULATIVE machines in List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, host=host_for(machine.id)) if machine.state is State.SPECULATIVE else machine


@mutant("LIF-8", "LIF-8b", machines=64)
class DeleteIsOnlySometimesUnimplemented(Core):
    """Answers UNIMPLEMENTED to a Delete of an unknown id only, and deletes known machines."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if verb is Verb.DELETE and request.machine_id not in self.machines:
            raise Rejected(Code.UNIMPLEMENTED, "no such machine")
        return super().serve(verb, request, now)


@mutant("LIF-8", "LIF-8b", machines=64, deletes=False)
class DeleteOfABoundMachineIsAborted(Core):
    """Answers ABORTED instead of UNIMPLEMENTED to a Delete of a bound machine."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine = self.machines.get(request.machine_id)
        if verb is Verb.DELETE and machine and machine.cluster:
            raise Rejected(Code.ABORTED, "bound")
        return super().serve(verb, request, now)


@mutant("LIF-8", "LIF-8c", machines=64, deletes=False)
class DeleteOfASlotIsOk(Core):
    """Answers OK instead of UNIMPLEMENTED to a Delete of a SPECULATIVE machine."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine = self.machines.get(request.machine_id)
        if verb is Verb.DELETE and machine and machine.state is State.SPECULATIVE:
            return self.ack(verb, "nothing-to-do", machine)
        return super().serve(verb, request, now)
