"""Providers that suffer from a client that goes while another one holds the operation id, or from many (WIR-3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.machine import Machine, State, Verb
from fake_provider.servicer import Servicer
from selftest.mutant import mutant
from selftest.mutants.wire_hangup import HELD, Hanging

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.servicer import Context

T = TypeVar("T")

SLOW = "the whole suite takes a minute with transitions of two seconds over TCP"


class _ARetryGoes(Hanging):
    """Not a mutant: calls `gone` only for a client that goes during a retry of `verb`."""

    verb: ClassVar[Verb]

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        done = await Servicer.answer(self, context, work)
        if isinstance(done, pb.TransitionAck):
            machine = self.core.machines[done.machine.id]
            asked: dict[str, int] = vars(self).setdefault("asked", {})
            asked[done.operation_id] = asked.get(done.operation_id, 0) + 1
            if machine.operation and machine.operation.verb is self.verb and asked[done.operation_id] > 1:
                try:
                    await asyncio.sleep(HELD)
                except asyncio.CancelledError:
                    self.gone(machine)
                    raise
        return done


@mutant("WIR-3", "WIR-3c", latency="2s", tcp=True, alone=SLOW)
class ARetryThatGoesStopsTheCreate(_ARetryGoes):
    """Rolls a Create back if a client goes during a retry of it."""

    verb = Verb.CREATE

    def gone(self, machine: Machine) -> None:
        self.undo(machine)


@mutant("WIR-3", "WIR-3f", latency="2s", tcp=True, alone=SLOW)
class ARetryThatGoesStopsTheDelete(_ARetryGoes):
    """Ends a Delete in FAILED if a client goes during a retry of it."""

    verb = Verb.DELETE

    def gone(self, machine: Machine) -> None:
        if machine.moving:
            self.core.put(self.core.failed(machine, "context canceled"))


@mutant("WIR-3", "WIR-3c", latency="2s", tcp=True, alone=SLOW)
class TheIdOfACreateGoesWithItsClient(Hanging):
    """Gives a Create another operation_id if its client goes, so that the one that another caller holds is unknown."""

    def gone(self, machine: Machine) -> None:
        current = self.core.machines[machine.id]
        if current.state is State.CREATING:
            self.core.put(replace(current, created_by=f"{machine.created_by}-taken-over"))


@mutant("WIR-3", "WIR-3f", latency="2s", tcp=True, alone=SLOW)
class TheIdOfADeleteGoesWithItsClient(Hanging):
    """Gives a Delete another operation_id if its client goes, so that the one that another caller holds is unknown."""

    def gone(self, machine: Machine) -> None:
        current = self.core.machines[machine.id]
        if current.state is State.DELETING and current.operation:
            operation = replace(current.operation, id=f"{current.operation.id}-taken-over")
            moved = self.core.put(replace(current, operation=operation))
            self.core.schedule(moved, self.clock())


@mutant("WIR-3", "WIR-3a", latency="2s", tcp=True, alone=SLOW)
class DrainingHidesItsClusterWhenTheClientGoes(Hanging):
    """Shows no cluster while it drains if the client of the Drain has gone."""

    def gone(self, machine: Machine) -> None:
        if machine.state is State.DRAINING:
            self.core.put(replace(self.core.machines[machine.id], cluster=""))


class _HidesMetadata(Hanging):
    """Not a mutant: shows no metadata in one state if the client of the Configure has gone."""

    hides_in = State.CONFIGURING

    def gone(self, machine: Machine) -> None:
        if machine.state is State.CONFIGURING:
            hidden: set[str] = vars(self).setdefault("hidden", set())
            hidden.add(machine.operation.id if machine.operation else "")

    def build(self, machine: Machine) -> pb.Machine:
        shown = super().build(machine)
        operation = machine.operation.id if machine.operation else ""
        if machine.state is self.hides_in and operation in vars(self).get("hidden", set()):
            shown.shard_metadata.clear()
        return shown

    def machine(self, machine: Machine) -> pb.Machine:
        return self.build(machine)


@mutant("WIR-3", "WIR-3a", latency="2s", tcp=True, alone=SLOW)
class ConfiguringHidesItsMetadataWhenTheClientGoes(_HidesMetadata):
    """Shows no metadata until the machine is CONFIGURED if the client of the Configure has gone."""


@mutant("WIR-3", "WIR-3a", latency="2s", tcp=True, alone=SLOW)
class MetadataIsNotStoredWhenTheClientGoes(_HidesMetadata):
    """Shows no metadata once the machine is CONFIGURED if the client of the Configure has gone."""

    hides_in = State.CONFIGURED


@mutant("COD-5", "COD-5e", tcp=True, alone="no further behaviour is answered")
class EachCallThatGoesKeepsAWorker(Servicer):
    """Never frees the worker of a call whose client went, and has ten workers."""

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        kept: list[int] = vars(self).setdefault("kept", [])
        if len(kept) >= 10:
            await asyncio.sleep(3600)
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            kept.append(1)
            raise
        return await super().answer(context, work)
