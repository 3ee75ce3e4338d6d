"""Newer versions that do not read the state of the older one properly, or do not serve its clients (ROL-3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.errors import Code, Rejected, StateFileError
from fake_provider.machine import Host, State, Verb
from fake_provider.servicer import Servicer
from selftest.durability_cuts import Cuts
from selftest.durable import Restarted
from selftest.rolled import rolled

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.machine import Machine
    from fake_provider.request import Request
    from fake_provider.store import Snapshot


class _Migrates(Restarted):
    """Not a mutant: changes the machines when it reads the state of the older version."""

    def migrated(self, machine: Machine) -> Machine:
        """Returns a machine as the newer version reads it."""
        return machine

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, machines={each.id: self.migrated(each) for each in saved.machines.values()})


@rolled("ROL-3a", newer=True)
class TheNewerVersionRefusesOldState(Restarted):
    """Ends with an error, because the state has an older format."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        raise StateFileError("the state has format 3; this version reads format 4")


@rolled("ROL-3a", newer=True)
class TheNewerVersionStartsEmptyMarks(Restarted):
    """Has a new table for marks, which is empty after the migration."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, marks={})


@rolled("ROL-3a", newer=True)
class TheNewerVersionHasMarksPerMachine(Restarted):
    """Migrates marks to a table with one row for each machine: that of the shard that called last."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        last = {machine: (shard, machine) for shard, machine in saved.marks}
        return replace(saved, marks={key: saved.marks[key] for key in last.values()})


@rolled("ROL-3a", newer=True)
class TheNewerVersionLosesOperations(_Migrates):
    """Names operations in another way, and does not know the older names."""

    def migrated(self, machine: Machine) -> Machine:
        return machine if machine.moving else replace(machine, operation=None, created_by="")


@rolled("ROL-3a", newer=True)
class TheNewerVersionRenamesOperations(_Migrates):
    """Gives the older operations names in its own form."""

    def migrated(self, machine: Machine) -> Machine:
        operation = machine.operation
        return machine if operation is None else replace(machine, operation=replace(operation, id=f"v2-{operation.id}"))


@rolled("ROL-3a", newer=True)
class TheNewerVersionLosesMetadata(_Migrates):
    """Reads the metadata from a field with another name."""

    def migrated(self, machine: Machine) -> Machine:
        return replace(machine, shard_metadata={}) if machine.shard_metadata else machine


@rolled("ROL-3a", newer=True)
class TheNewerVersionDropsEmptyValues(_Migrates):
    """Reads metadata in a form that has no empty values."""

    def migrated(self, machine: Machine) -> Machine:
        kept = {key: value for key, value in machine.shard_metadata.items() if value}
        return replace(machine, shard_metadata=kept)


@rolled("ROL-3a", newer=True)
class TheNewerVersionNamesHostsInFull(_Migrates):
    """Shows the hosts of before under longer names."""

    def migrated(self, machine: Machine) -> Machine:
        host = machine.host
        return (
            machine if host is None else replace(machine, host=Host(provider=host.provider, ref=f"region/{host.ref}"))
        )


@rolled("ROL-3a", newer=True)
class TheNewerVersionHasAnotherInventory(Restarted):
    """Reads its inventory from a new configuration, which names one more machine."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        first = next(each for each in saved.machines.values() if each.state is State.SPECULATIVE)
        return replace(saved, machines={**saved.machines, "one-more": replace(first, id="one-more")})


@rolled("ROL-3a", newer=True, latency="800ms")
class TheNewerVersionAbandonsTransitions(Cuts):
    """Does not know the tasks of the older version, and leaves their machines as they are."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return replace(machine, operation=None)


@rolled("ROL-3b", newer=True)
class TheNewerVersionDemandsAProfile(Restarted):
    """Refuses a Configure without a field that the older contract does not have."""

    def validate(self, verb: Verb, request: Request) -> None:
        super().validate(verb, request)
        if verb is Verb.CONFIGURE:
            raise Rejected(Code.INVALID_ARGUMENT, "network_profile must not be empty")


@rolled("ROL-3b", newer=True)
class TheNewerVersionRenumbersTheCluster(Servicer):
    """Shows the cluster in a new field only."""

    def build(self, machine: Machine) -> pb.Machine:
        message = super().build(machine)
        if message.cluster:
            name = message.cluster.encode()
            message.ClearField("cluster")
            message.MergeFromString(b"\x82\x01" + bytes([len(name)]) + name)  # field 16
        return message


@rolled("ROL-3b", newer=True)
class TheNewerVersionMovesMetadata(Servicer):
    """Shows the metadata in a new message only, as the clients of the newer contract expect it."""

    def build(self, machine: Machine) -> pb.Machine:
        message = super().build(machine)
        if message.shard_metadata:
            message.shard_metadata.clear()
        return message
