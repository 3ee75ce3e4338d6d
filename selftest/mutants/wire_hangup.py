"""Providers whose transitions depend on the caller's connection (contract §1, WIR-3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.machine import EDGES, Machine, State, Verb
from fake_provider.servicer import Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.servicer import Context

T = TypeVar("T")
HELD = 1.5
"""Seconds for which an answer is held back: less than a transition takes, so it still runs when the client leaves."""


class Hanging(Servicer):
    """Not a mutant: holds the answer back for a moment, like a provider that waits for its cloud."""

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        done = await super().answer(context, work)
        if isinstance(done, pb.TransitionAck):
            before = self.core.machines[done.machine.id]
            try:
                await asyncio.sleep(HELD)
            except asyncio.CancelledError:
                self.gone(before)
                raise
        return done

    def gone(self, machine: Machine) -> None:
        """Handles a disconnected client; `machine` is the state after its call."""

    def undo(self, machine: Machine) -> None:
        if machine.operation and machine.moving:
            verb = machine.operation.verb
            bound = machine.cluster if verb is Verb.DRAIN else ""
            kept = machine.shard_metadata if verb is Verb.DRAIN else {}
            back = replace(machine, state=EDGES[verb].source, cluster=bound, shard_metadata=kept, operation=None)
            self.core.put(replace(back, created_by="" if verb is Verb.CREATE else machine.created_by))


@mutant("WIR-3", "WIR-3a", "WIR-3b", "WIR-3c", "WIR-3f", latency="2s", tcp=True)
class TakenBackWhenTheClientGoes(Hanging):
    """Rolls the transition back if the client disconnects."""

    def gone(self, machine: Machine) -> None:
        self.undo(machine)


@mutant("WIR-3", "WIR-3a", "WIR-3b", "WIR-3c", "WIR-3f", latency="2s", tcp=True)
class StuckWhenTheClientGoes(Hanging):
    """Never ends the transition if the client disconnects."""

    def gone(self, machine: Machine) -> None:
        if machine.operation and machine.moving:
            self.core.put(replace(machine, operation=replace(machine.operation, id="orphan")))


@mutant("WIR-3", "WIR-3a", "WIR-3b", "WIR-3c", "WIR-3f", latency="2s", tcp=True)
class FailedWhenTheClientGoes(Hanging):
    """Ends the transition in FAILED if the client disconnects."""

    def gone(self, machine: Machine) -> None:
        if machine.moving:
            self.core.put(self.core.failed(machine, "context canceled"))


@mutant("WIR-3", "WIR-3b", latency="2s", tcp=True)
class DrainStopsWhenTheClientGoes(Hanging):
    """Rolls a Drain back if the client disconnects."""

    def gone(self, machine: Machine) -> None:
        if machine.state is State.DRAINING:
            self.undo(machine)


@mutant("WIR-3", "WIR-3d", latency="2s", tcp=True)
class TakenBackButForItsMetadata(Hanging):
    """Rolls the transition back except for its metadata if the client disconnects."""

    def gone(self, machine: Machine) -> None:
        self.undo(machine)
        if machine.state is State.CONFIGURING:
            self.core.put(replace(self.core.machines[machine.id], shard_metadata=machine.shard_metadata))


@mutant("WIR-3", "WIR-3b", latency="2s", tcp=True)
class BoundForNobodyIsBoundToNothing(Hanging):
    """Loses the cluster of a Configure if the client disconnects."""

    def gone(self, machine: Machine) -> None:
        if machine.state is State.CONFIGURING:
            self.core.put(replace(machine, cluster=""))


@mutant("WIR-3", "WIR-3b", latency="2s", tcp=True)
class MetadataOfNobodyIsDropped(Hanging):
    """Loses the metadata of a Configure if the client disconnects."""

    def gone(self, machine: Machine) -> None:
        if machine.state is State.CONFIGURING:
            self.core.put(replace(machine, shard_metadata={}))


@mutant("WIR-3", "WIR-3b", latency="2s", tcp=True, alone="the next behaviour that leases its machine sees the binding")
class DrainedForNobodyStaysBound(Hanging):
    """Still shows the cluster after a Drain if the client disconnects."""

    def gone(self, machine: Machine) -> None:
        if machine.state is State.DRAINING:
            self.left = {**self.__dict__.get("left", {}), machine.id: machine.cluster}

    async def Get(self, request: pb.MachineRef, context: Context) -> pb.Machine:  # noqa: N802
        shown = await super().Get(request, context)
        if shown.state == pb.MACHINE_STATE_IDLE:
            shown.cluster = self.__dict__.get("left", {}).get(shown.id, "")
        return shown


@mutant("WIR-3", "WIR-3c", latency="2s", tcp=True)
class CreateIsOrphanedWhenTheClientGoes(Hanging):
    """Never ends a Create if the client disconnects."""

    def gone(self, machine: Machine) -> None:
        if machine.state is State.CREATING and machine.operation:
            self.core.put(replace(machine, operation=replace(machine.operation, id="orphan")))


@mutant("WIR-3", "WIR-3e", latency="2s", tcp=True)
class ARetryThatGoesTakesTheOperationWithIt(Servicer):
    """Ends the transition in FAILED if a client disconnects during a retry."""

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        done = await super().answer(context, work)
        if isinstance(done, pb.TransitionAck):
            asked: dict[str, int] = vars(self).setdefault("asked", {})
            asked[done.operation_id] = asked.get(done.operation_id, 0) + 1
            try:
                await asyncio.sleep(HELD if asked[done.operation_id] > 1 else 0)
            except asyncio.CancelledError:
                machine = self.core.machines[done.machine.id]
                if machine.moving:
                    self.core.put(self.core.failed(machine, "cancelled"))
                raise
        return done


@mutant("WIR-3", "WIR-3d", latency="300ms")
class TheDeadlineIsTheOperations(Servicer):
    """Ends the transition in FAILED when the caller's deadline passes."""

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        done = await super().answer(context, work)
        left = context.time_remaining()
        if isinstance(done, pb.TransitionAck) and left is not None:
            asyncio.get_running_loop().call_later(left, self.expire, done.machine.id, done.operation_id)
        return done

    def expire(self, machine_id: str, operation_id: str) -> None:
        machine = self.core.machines[machine_id]
        if self.core.is_running(machine, operation_id):
            self.core.put(self.core.failed(machine, "context deadline exceeded"))
