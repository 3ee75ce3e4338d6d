"""Providers that change other machines, ack late or wrongly, or never end a Drain (contract §2, LIF-9 to LIF-12)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.core import Core
from fake_provider.fleet import host_for
from fake_provider.machine import EDGES, Machine, State, Verb
from fake_provider.servicer import Context, Fenced, Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.request import Ack, Request

# LIF-9: other machines.


class MovesOthers(Core):
    """Not a mutant: the end of one verb's transition moves every other machine in a state."""

    verb: Verb
    rests: State
    then: State

    def settle(self, machine: Machine) -> Machine:
        if machine.operation and machine.operation.verb is self.verb:
            for other in list(self.machines.values()):
                if other.state is self.rests and other.id != machine.id:
                    self.put(replace(other, state=self.then))
        return super().settle(machine)


@mutant(
    "LIF-9",
    "LIF-9a",
    also=("LIF-3a", "LIF-6c", "LIF-6g", "OPS-2b"),
    because="the disturbed machine may be one that they observe at rest",
)
class DrainEmptiesTheFleet(MovesOthers):
    """Drains all CONFIGURED machines when one Drain ends."""

    verb, rests, then = Verb.DRAIN, State.CONFIGURED, State.IDLE


@mutant("LIF-9", "LIF-9a", also=("LIF-3a",), because="the disturbed machine may be one that LIF-3a observes at rest")
class ConfigureWakesNeighbours(MovesOthers):
    """Configures all IDLE machines when one Configure ends."""

    verb, rests, then = Verb.CONFIGURE, State.IDLE, State.CONFIGURED


@mutant("LIF-9", "LIF-9c", alone="which behaviour loses its machine is random, and that behaviour cannot continue")
class DeleteScalesDownBySize(MovesOthers):
    """Deletes all IDLE machines when one Delete ends."""

    verb, rests, then = Verb.DELETE, State.IDLE, State.DELETING


@mutant(
    "LIF-9",
    "LIF-9b",
    also=("COD-2a", "LIF-5d"),
    because="the SPECULATIVE machine that they observe may get a host",
)
class CreateHostsTheWrongSlotsToo(Core):
    """Attaches a host to all SPECULATIVE machines that were read when one is created."""

    def shown_in_get(self, machine: Machine) -> Machine:
        self.__dict__.setdefault("seen", set()).add(machine.id)
        return machine

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        for other in [self.machines[name] for name in self.__dict__.get("seen", ()) if name != machine.id]:
            if verb is Verb.CREATE and other.state is State.SPECULATIVE:
                self.put(replace(other, host=host_for(machine.id)))
        return super().start(verb, machine, request, now)


@mutant(
    "LIF-9",
    "LIF-9a",
    also=("COD-2b", "OPS-2b"),
    because="the changed binding may be that of a machine whose refusals or retries they judge",
)
class ConfigureMovesTheLastBinding(Core):
    """Shows the cluster of the last Configure on all CONFIGURED machines."""

    def bound(self, machine: Machine, request: Any) -> Machine:
        for other in list(self.machines.values()):
            if other.state is State.CONFIGURED:
                self.put(replace(other, cluster=request.cluster))
        return super().bound(machine, request)


# LIF-10: the ack does not wait.


class Waits(Servicer):
    """Not a mutant: answers when the machine has settled."""

    async def when_settled(self, request: Fenced, ack: pb.TransitionAck) -> pb.TransitionAck:
        machine = self.core.machines[request.machine_id]
        if machine.moving and machine.operation:
            await asyncio.sleep(machine.operation.due - self.clock())
            self.core.advance(self.clock())
        return pb.TransitionAck(
            operation_id=ack.operation_id, machine=self.machine(self.core.machines[request.machine_id])
        )


@mutant("LIF-10", "LIF-10a", latency="40ms,drain=1200ms")
class DrainWaitsForItsEnd(Waits):
    """Answers a Drain only when the transition has ended."""

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        return await self.when_settled(request, await super().Drain(request, context))


@mutant("LIF-10", "LIF-10a", latency="40ms,configure=1200ms")
class ConfigureWaitsForItsEnd(Waits):
    """Answers a Configure only when the transition has ended."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        return await self.when_settled(request, await super().Configure(request, context))


# LIF-11: the ack's snapshot.


@mutant("LIF-11", "LIF-11a", "LIF-11c")
class AckShowsTheSource(Core):
    """Shows the source state in the ack while the transition runs."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, state=EDGES[verb].source) if machine.moving else machine


@mutant("LIF-11", "LIF-11a")
class CreateAckShowsASlot(Core):
    """Shows SPECULATIVE in the ack of Create."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, state=State.SPECULATIVE) if verb is Verb.CREATE else machine


@mutant("LIF-11", "LIF-11a", "LIF-11c")
class RetryAckShowsTheSource(Core):
    """Shows the source state in the ack of a retry."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        before = self.machines.get(request.machine_id)
        ack = super().serve(verb, request, now)
        again = before is not None and before.state in (EDGES[verb].via, EDGES[verb].target)
        return replace(ack, machine=replace(ack.machine, state=EDGES[verb].source)) if again else ack


@mutant(
    "LIF-11",
    "LIF-11a",
    "LIF-11c",
    also=("LIF-4a",),
    because="an ack without a machine has no machine id either",
)
class AckShowsNoMachine(Servicer):
    """Sends an ack with an operation_id and no machine."""

    def ack(self, ack: Ack) -> pb.TransitionAck:
        return pb.TransitionAck(operation_id=ack.operation_id)


@mutant(
    "LIF-11",
    "LIF-11b",
    also=("LIF-4a",),
    because="the id in the ack is another machine's",
)
class AckShowsTheLastMachine(Core):
    """Shows another machine in the ack of concurrent calls."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        last: Machine = self.__dict__.get("last", machine)
        self.__dict__["last"] = machine
        moved = last.operation and machine.operation and abs(last.operation.due - machine.operation.due) < 0.02
        return last if moved else machine
