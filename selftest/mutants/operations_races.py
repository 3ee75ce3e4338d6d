"""Providers with races between reading a machine and changing it (contract §3, OPS-4 and OPS-6)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc

from fake_provider.core import Core
from fake_provider.machine import EDGES, Machine, State, Verb
from fake_provider.request import Configure, Request
from fake_provider.servicer import Context, Fenced, Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb


class _NoLock(Servicer):
    """Decides by the state of the machine some milliseconds ago."""

    async def stale(self, verb: Verb, request: Fenced) -> None:
        seen = self.core.machines.get(request.machine_id)
        if seen is None or seen.state is not EDGES[verb].source:
            return
        await asyncio.sleep(0.01)
        if self.core.machines[seen.id].operation is not seen.operation:
            self.core.put(seen)


@mutant("OPS-4", "OPS-4a")
class CreateHasNoLock(_NoLock):
    """Does not check the state and start a Create in one step."""

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(Verb.CREATE, request)
        return await super().Create(request, context)


@mutant("OPS-4", "OPS-4b", "OPS-6a")
class ConfigureHasNoLock(_NoLock):
    """Does not check the state and start a Configure in one step."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(Verb.CONFIGURE, request)
        return await super().Configure(request, context)


@mutant("OPS-4", "OPS-4c")
class DrainHasNoLock(_NoLock):
    """Does not check the state and start a Drain in one step."""

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(Verb.DRAIN, request)
        return await super().Drain(request, context)


@mutant("OPS-4", "OPS-4e")
class DeleteHasNoLock(_NoLock):
    """Does not check the state and start a Delete in one step."""

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(Verb.DELETE, request)
        return await super().Delete(request, context)


@mutant("OPS-4", "OPS-4b", also=("OPS-6a",), because="its calls are concurrent and use several connections too")
class OneLockPerConnection(_NoLock):
    """Checks the state and starts a Configure under a separate lock for each connection."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        lock: asyncio.Lock = self.__dict__.setdefault("locks", {}).setdefault(context.peer(), asyncio.Lock())
        async with lock:
            await self.stale(Verb.CONFIGURE, request)
            return await super().Configure(request, context)


@mutant("OPS-4", "OPS-4a", also=("LIF-5c",), because="the List may be answered while the first host is replaced")
class SecondCreateLaunchesAsWell(Core):
    """Launches a second host for a concurrent Create; it replaces the first one later."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and verb is Verb.CREATE and machine.moving and machine.operation:
            self.inventory.schedule(machine.operation.due + 0.15, machine, f"{known}-second")
        return known

    def complete(self, machine: Machine, operation_id: str) -> None:
        super().complete(machine, operation_id)
        if operation_id.endswith("-second") and machine.operation:
            second = replace(machine.operation, id=operation_id)
            self.put(replace(self.machines[machine.id], host=self.new_host(machine, second)))


@mutant("OPS-4", "OPS-4d")
class RetriesAtOnceHaveNewIds(Servicer):
    """Gives concurrent retries of a Configure other operation ids."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        machine = self.core.machines.get(request.machine_id)
        busy: set[str] = self.__dict__.setdefault("busy", set())
        ack = await super().Configure(request, context)
        if machine is None or machine.state is not State.CONFIGURED:
            return ack
        if machine.id in busy:
            ack.operation_id += f"-{request.shard_id}"
            return ack
        busy.add(machine.id)
        await asyncio.sleep(0.01)
        busy.discard(machine.id)
        return ack


# OPS-6: racing calls for different targets.


@mutant("OPS-6", "OPS-6a")
class TheLastClusterIsReported(Core):
    """Stores the cluster of each concurrent Configure, even of those that it refuses."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if isinstance(request, Configure) and machine.state is State.CONFIGURING:
            self.put(replace(machine, cluster=request.cluster))
        super().check_edge(verb, machine, request)


@mutant("OPS-6", "OPS-6a")
class EveryClusterIsAccepted(Core):
    """Accepts all concurrent Configures for different clusters, and carries out the first."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        if machine.state is State.CONFIGURING and self.another(machine, request):
            return self.new_operation_id(verb, machine)
        return super().retry_of(verb, machine, request)

    def another(self, machine: Machine, request: Request) -> bool:
        return isinstance(request, Configure) and request.cluster != machine.cluster


@mutant(
    "OPS-6",
    "OPS-6b",
    also=("OPS-4b",),
    because="concurrent Configures hit the same race",
)
class ConfigureAndDeleteHaveNoLock(_NoLock):
    """Does not lock a machine against a concurrent Configure and Delete."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(Verb.CONFIGURE, request)
        return await super().Configure(request, context)

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(Verb.DELETE, request)
        return await super().Delete(request, context)


# Breaks COD-2 and not only OPS-6: one call after the other shows it, and their author has no race to look for.
@mutant("COD-2", "COD-2d", "COD-2i", "OPS-6b")
class DeleteGoesAhead(Core):
    """Accepts a Delete while CONFIGURING, and a Configure while DELETING."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if verb is Verb.DELETE and machine.state is State.CONFIGURING:
            return
        if verb is Verb.CONFIGURE and machine.state is State.DELETING:
            return
        super().check_edge(verb, machine, request)


@mutant(
    "OPS-6",
    "OPS-6c",
    also=("COD-5a", "COD-5b", "COD-5c", "COD-5d"),
    because="one of them sends unusual requests while a Drain runs",
)
class ConfigureStopsADrain(Core):
    """Cancels a running Drain before it refuses a Configure."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if verb is Verb.CONFIGURE and machine.state is State.DRAINING:
            self.__dict__.setdefault("stopped", set()).add(machine.id)
        super().check_edge(verb, machine, request)

    def settle(self, machine: Machine) -> Machine:
        if machine.state is State.DRAINING and machine.id in self.__dict__.setdefault("stopped", set()):
            self.__dict__["stopped"].discard(machine.id)
            return replace(machine, state=State.CONFIGURED)
        return super().settle(machine)


@mutant("OPS-6", "OPS-6c", also=("LIF-6a",), because="its machine may have refused another cluster before")
class DrainKeepsTheOtherCluster(Core):
    """Keeps the cluster of a refused Configure, and shows it after the Drain."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if isinstance(request, Configure) and machine.state in (State.DRAINING, State.CONFIGURED):
            self.__dict__.setdefault("other", {})[machine.id] = request.cluster
        super().check_edge(verb, machine, request)

    def cleared_by_drain(self, machine: Machine) -> Machine:
        other: dict[str, str] = self.__dict__.setdefault("other", {})
        return replace(super().cleared_by_drain(machine), cluster=other.pop(machine.id, ""))


@mutant("OPS-6", "OPS-6a")
class EverybodyLosesTheRace(Servicer):
    """Answers ABORTED to all concurrent Configures but the first, although one of them has started."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        here: dict[str, int] = self.__dict__.setdefault("here", {})
        here[request.machine_id] = here.get(request.machine_id, 0) + 1
        await asyncio.sleep(0.01)
        alone = here[request.machine_id] == 1
        try:
            ack = await super().Configure(request, context)
            await asyncio.sleep(0.01)
        finally:
            here[request.machine_id] -= 1
        if not alone:
            await context.abort(grpc.StatusCode.ABORTED, "another call is running")
        return ack


@mutant("OPS-6", "OPS-6a", "OPS-5b")
class LosersComeLater(Core):
    """Carries out a refused Configure later, when the machine is CONFIGURED."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if isinstance(request, Configure) and machine.state is State.CONFIGURING:
            self.__dict__.setdefault("queued", {})[machine.id] = request.cluster
        super().check_edge(verb, machine, request)

    def advance(self, now: float) -> None:
        super().advance(now)
        queued: dict[str, str] = self.__dict__.setdefault("queued", {})
        for machine in [self.machines[each] for each in queued]:
            operation = machine.operation
            if machine.state is State.CONFIGURED and operation and now > operation.due + 0.06:
                self.put(replace(machine, cluster=queued.pop(machine.id)))
