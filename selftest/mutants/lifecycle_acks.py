"""Providers whose acks wait, or whose repeated acks show less than the first (contract §2, LIF-5, LIF-6 and LIF-10)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.machine import Machine, State, Verb
from selftest.mutant import mutant
from selftest.mutants.lifecycle_drives import Waits

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.request import Request
    from fake_provider.servicer import Context


@mutant("LIF-10", "LIF-10b", latency="40ms,create=1200ms")
class CreateWaitsForItsEnd(Waits):
    """Answers a Create only when the transition has ended."""

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        return await self.when_settled(request, await super().Create(request, context))


@mutant("LIF-10", "LIF-10c", latency="40ms,delete=1200ms")
class DeleteWaitsForItsEnd(Waits):
    """Answers a Delete only when the transition has ended."""

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        return await self.when_settled(request, await super().Delete(request, context))


@mutant("LIF-10", "LIF-10a", latency="40ms,configure=1200ms")
class RetriesWaitForTheEnd(Waits):
    """Answers a repeated Configure only when the transition has ended."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        machine = self.core.machines.get(request.machine_id)
        joins = machine is not None and machine.moving
        ack = await super().Configure(request, context)
        return await self.when_settled(request, ack) if joins else ack


class _RepeatedAckIsThin(Core):
    """Not a mutant: shows something else in the ack of a retry."""

    again = False

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        self.again = known is not None
        return known

    def thin(self, machine: Machine) -> Machine:
        raise NotImplementedError

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return self.thin(machine) if self.again else machine


@mutant("LIF-5", "LIF-5a")
class RepeatedAckHasNoHost(_RepeatedAckIsThin):
    """Omits the host from the ack of a retry."""

    def thin(self, machine: Machine) -> Machine:
        return replace(machine, host=None)


@mutant("LIF-6", "LIF-6a")
class RepeatedAckHasNoCluster(_RepeatedAckIsThin):
    """Omits the cluster from the ack of a retry."""

    def thin(self, machine: Machine) -> Machine:
        return replace(machine, cluster="")


@mutant("SHP-1", "SHP-1c")
class RepeatedAckHasNoType(_RepeatedAckIsThin):
    """Omits the instance_type from the ack of a retry."""

    def thin(self, machine: Machine) -> Machine:
        return replace(machine, instance_type=replace(machine.instance_type, name=""))


@mutant("MET-1", "MET-1b", latency="120ms")
class RepeatedAckHasNoMetadataYet(_RepeatedAckIsThin):
    """Omits the metadata from the ack of a repeated Configure while it runs."""

    def thin(self, machine: Machine) -> Machine:
        return replace(machine, shard_metadata={}) if machine.state is State.CONFIGURING else machine


@mutant("MET-1", "MET-1b", latency="120ms")
class RepeatedDrainAckHasNoMetadata(_RepeatedAckIsThin):
    """Omits the metadata from the ack of a repeated Drain while it runs."""

    def thin(self, machine: Machine) -> Machine:
        return replace(machine, shard_metadata={}) if machine.state is State.DRAINING else machine
