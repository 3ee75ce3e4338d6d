"""Providers that start or store something for a retry (contract §3, OPS-2, OPS-3 and OPS-5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.core import Core
from fake_provider.machine import Machine, State, Verb
from fake_provider.request import Configure
from fake_provider.servicer import Context, Servicer, T
from selftest.mutant import mutant
from selftest.mutants.wire_hangup import HELD

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.request import Ack, Request


@mutant("OPS-2", "OPS-2d")
class RetriesAreKeyedOnTheMetadata(Core):
    """Gives a retry with other metadata another operation_id."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and isinstance(request, Configure) and dict(request.metadata) != dict(machine.shard_metadata):
            return self.new_operation_id(verb, machine)
        return known


@mutant("OPS-2", "OPS-2g", latency="120ms")
class RetriesStartTheClockAnew(Core):
    """Restarts the running transition on each retry, with the same operation_id."""

    time = 0.0

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        ack = super().serve(verb, request, now)
        machine = self.machines[request.machine_id]
        if machine.moving and machine.operation and verb in (Verb.CONFIGURE, Verb.DRAIN):
            due = now + self.latency.draw(verb, self.rng)
            self.put(replace(machine, operation=replace(machine.operation, due=due)))
            self.inventory.schedule(due, machine, machine.operation.id)
        return ack

    def advance(self, now: float) -> None:
        self.time = now
        super().advance(now)

    def is_running(self, machine: Machine, operation_id: str) -> bool:
        last = machine.operation is not None and machine.operation.due <= self.time
        return last and super().is_running(machine, operation_id)


@mutant("OPS-3", "OPS-3a")
class IdIsClusterAndRound(Core):
    """Builds the operation_id from RPC, cluster and a counter, so that two machines of a cluster share ids."""

    cluster = ""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        self.cluster = request.cluster if isinstance(request, Configure) else machine.cluster
        return super().start(verb, machine, request, now)

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        if verb in (Verb.CREATE, Verb.DELETE):
            return super().new_operation_id(verb, machine)
        rounds: dict[tuple[str, str, str], int] = self.__dict__.setdefault("rounds", {})
        key = (machine.id, verb, self.cluster)
        rounds[key] = rounds.get(key, 0) + 1
        return f"{verb} {self.cluster} {rounds[key]}"


class _KeepsTheOthersMetadata(Core):
    """Not a mutant: stores the metadata of a Configure for another cluster before it refuses the call."""

    state: State

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if isinstance(request, Configure) and machine.state is self.state:
            self.put(replace(machine, shard_metadata=dict(request.metadata)))
        super().check_edge(verb, machine, request)


@mutant("OPS-5", "OPS-5a")
class OtherClusterLeavesItsMetadata(_KeepsTheOthersMetadata):
    """Stores the metadata before it refuses a Configure for another cluster at CONFIGURED."""

    state = State.CONFIGURED


@mutant("OPS-5", "OPS-5b", "OPS-6a", latency="120ms")
class OtherClusterLeavesItsMetadataInFlight(_KeepsTheOthersMetadata):
    """Stores the metadata before it refuses a Configure for another cluster while CONFIGURING."""

    state = State.CONFIGURING


@mutant("WIR-3", "WIR-3e", latency="2s", tcp=True)
class ARetryThatGoesRenamesTheOperation(Servicer):
    """Changes the operation_id if a client disconnects during a retry."""

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        done: Any = await super().answer(context, work)
        if isinstance(done, pb.TransitionAck):
            asked: dict[str, int] = self.__dict__.setdefault("asked", {})
            asked[done.operation_id] = asked.get(done.operation_id, 0) + 1
            try:
                await asyncio.sleep(HELD if asked[done.operation_id] > 1 else 0)
            except asyncio.CancelledError:
                machine = self.core.machines[done.machine.id]
                if machine.moving and machine.operation:
                    renamed = replace(machine.operation, id=f"{machine.operation.id}-")
                    self.core.put(replace(machine, operation=renamed))
                    self.core.inventory.schedule(renamed.due, machine, renamed.id)
                raise
        return done  # type: ignore[no-any-return]
