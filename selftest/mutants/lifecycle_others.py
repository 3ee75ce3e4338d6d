"""Providers that depend on the calling shard, the connection or the other machines (LIF-1, 2, 5, 6, 9)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, State, Verb
from fake_provider.servicer import Context, Servicer, T
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.request import Configure, Request


@mutant("LIF-1", "LIF-1a", also=("LIF-12a",), because="another shard may have configured its machine")
class OnlyWhoBoundItDrains(Core):
    """Refuses a Drain from another shard than the one that configured the machine."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        super().check_edge(verb, machine, request)
        owners: dict[str, str] = self.__dict__.setdefault("owners", {})
        if verb is Verb.DRAIN and owners.get(machine.id) != request.token.shard:
            raise Rejected(Code.PERMISSION_DENIED, "another shard has bound it")
        if verb is Verb.CONFIGURE:
            owners[machine.id] = request.token.shard


@mutant("LIF-2", "LIF-2e", latency="120ms", alone="a behaviour that reads over another connection cannot continue")
class ReadersHaveAReplica(Servicer):
    """Answers Get from a replica that is up to a second late, except on the connection that made the change."""

    async def Get(self, request: pb.MachineRef, context: Context) -> pb.Machine:  # noqa: N802
        replicas: dict[tuple[str, str], tuple[float, pb.Machine]] = self.__dict__.setdefault("replicas", {})
        writers: dict[str, str] = self.__dict__.setdefault("writers", {})
        key = (context.peer(), request.id)
        if key in replicas and self.clock() - replicas[key][0] < 1.0 and writers.get(request.id) != context.peer():
            return replicas[key][1]
        shown = await super().Get(request, context)
        replicas[key] = (self.clock(), shown)
        return shown

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        done: Any = await super().answer(context, work)
        if isinstance(done, pb.TransitionAck):
            self.__dict__.setdefault("writers", {})[done.machine.id] = context.peer()
        return done  # type: ignore[no-any-return]


@mutant("LIF-9", "LIF-9a")
class DrainEmptiesTheCluster(Core):
    """Drains all machines of a cluster when one of them is drained."""

    def settle(self, machine: Machine) -> Machine:
        if machine.state is State.DRAINING:
            for other in list(self.machines.values()):
                if other.id != machine.id and other.state is State.CONFIGURED and other.cluster == machine.cluster:
                    self.put(self.cleared_by_drain(replace(other, state=State.IDLE)))
        return super().settle(machine)


@mutant("LIF-6", "LIF-6c")
class ClusterIsALabelValue(Core):
    """Cuts cluster ids at 63 characters, like a label value."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), cluster=request.cluster[:63])


@mutant("LIF-6", "LIF-6c")
class ClusterOf255Characters(Core):
    """Cuts cluster ids at 255 characters, like VARCHAR(255)."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), cluster=request.cluster[:255])
