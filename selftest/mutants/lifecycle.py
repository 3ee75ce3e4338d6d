"""Providers that take a wrong way through the lifecycle (contract §2, LIF-1..3 and LIF-9..12)."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fleet import host_for
from fake_provider.machine import EDGES, TRANSITIONAL, Machine, State, Verb
from fake_provider.request import Ack, Drain, Request
from fake_provider.servicer import Context, Fenced, Servicer
from selftest.mutant import mutant

# LIF-1: the edges.


@mutant("LIF-1", "LIF-1a")
class DrainGivesTheHostBack(Core):
    """Takes a drained machine for one that nobody needs, and releases it."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return replace(self.cleared_by_delete(machine), state=State.SPECULATIVE)


@mutant("LIF-1", "LIF-1a")
class DeleteEndsIdle(Core):
    """The cloud's terminate is never awaited, and the next look finds the instance still running."""

    def settle(self, machine: Machine) -> Machine:
        gone = machine.operation and machine.operation.verb is Verb.DELETE
        return replace(machine, state=State.IDLE) if gone else super().settle(machine)


@mutant("LIF-1", "LIF-1b")
class BoundOnce(Core):
    """Keeps a `used` flag for each machine that Drain forgets to reset."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        used = self.__dict__.setdefault("used", {})
        if verb is Verb.CONFIGURE and machine.state is State.IDLE:
            used[machine.id] = used.get(machine.id, 0) + 1
            if used[machine.id] > 1:
                raise Rejected(Code.ABORTED, "in use")
        super().check_edge(verb, machine, request)


@mutant("LIF-1", "LIF-1a", "LIF-1b")
class ConfigureEndsIdle(Core):
    """Reports success of the join script before the machine is marked as bound."""

    def settle(self, machine: Machine) -> Machine:
        bound = machine.operation and machine.operation.verb is Verb.CONFIGURE
        return replace(machine, state=State.IDLE, cluster="") if bound else super().settle(machine)


@mutant("LIF-1", "LIF-1a")
class CreateIsRefused(Core):
    """Wants a machine to exist before it is created."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if verb is Verb.CREATE and not machine.host:
            raise Rejected(Code.ABORTED, "no host")
        super().check_edge(verb, machine, request)


# LIF-2: what is seen on the way.


class ShownWrong(Core):
    """Not a mutant: shows one state for another in Get, always or for the first look at a transition."""

    real: State
    shown: State
    looks: float = math.inf

    def shown_in_get(self, machine: Machine) -> Machine:
        if machine.state is not self.real or machine.operation is None:
            return machine
        looked: dict[str, int] = self.__dict__.setdefault("looked", {})
        looked[machine.operation.id] = looked.get(machine.operation.id, 0) + 1
        return replace(machine, state=self.shown) if looked[machine.operation.id] <= self.looks else machine


@mutant("LIF-2", "LIF-2a")
class CreatingLooksIdleAtFirst(ShownWrong):
    """Writes the target optimistically; the sync with the cloud puts it right a moment later."""

    real, shown, looks = State.CREATING, State.IDLE, 2


@mutant("LIF-2", "LIF-2b")
class ConfiguringLooksConfiguredAtFirst(ShownWrong):
    """Writes the target optimistically; the agent's heartbeat puts it right a moment later."""

    real, shown, looks = State.CONFIGURING, State.CONFIGURED, 2


@mutant("LIF-2", "LIF-2c")
class DrainingLooksIdleAtFirst(ShownWrong):
    """Writes the target optimistically; the eviction loop puts it right a moment later."""

    real, shown, looks = State.DRAINING, State.IDLE, 2


@mutant("LIF-2", "LIF-2a")
class DeletingLooksIdle(ShownWrong):
    """Has no word for a machine that is on its way out."""

    real, shown = State.DELETING, State.IDLE


@mutant("LIF-2", "LIF-2a")
class CreatingLooksSpeculative(ShownWrong):
    """Has no word for a machine that is on its way in."""

    real, shown = State.CREATING, State.SPECULATIVE


@mutant("LIF-2", "LIF-2b")
class ConfiguringLooksIdle(ShownWrong):
    """Get reads a cache that is only written when a transition ends."""

    real, shown = State.CONFIGURING, State.IDLE


@mutant("LIF-2", "LIF-2c")
class DrainingLooksConfigured(ShownWrong):
    """A machine counts as CONFIGURED for as long as it has a cluster."""

    real, shown = State.DRAINING, State.CONFIGURED


@mutant("LIF-2", "LIF-2b")
class ConfiguringLooksCreating(ShownWrong):
    """One word, pending, for everything that is on its way."""

    real, shown = State.CONFIGURING, State.CREATING


@mutant("LIF-2", "LIF-2c")
class DrainingLooksDeleting(ShownWrong):
    """One word, terminating, for everything that is on its way down."""

    real, shown = State.DRAINING, State.DELETING


@mutant("LIF-2", "LIF-2b", "LIF-2c")
class ListShowsTheDesiredState(Core):
    """List serves the spec, Get the status."""

    def shown_in_list(self, machine: Machine) -> Machine:
        moving = machine.state in TRANSITIONAL and machine.operation
        return replace(machine, state=EDGES[moving.verb].target) if moving else machine

    def matches(self, machine: Machine, wanted: Any) -> bool:
        return super().matches(self.shown_in_list(machine), wanted)


# LIF-3: rest.


class Restless(Core):
    """Not a mutant: what has been in one state for a while moves by itself."""

    rests: State
    then: State

    def advance(self, now: float) -> None:
        super().advance(now)
        for machine in list(self.machines.values()):
            operation = machine.operation
            if machine.state is self.rests and operation and now > operation.due + 0.12:
                self.put(replace(machine, state=self.then, cluster="", shard_metadata={}))


@mutant("LIF-3", "LIF-3a")
class IdleReaper(Restless):
    """A cost saver takes IDLE machines back after a while."""

    rests, then = State.IDLE, State.SPECULATIVE


@mutant("LIF-3", "LIF-3a")
class BindingsExpire(Restless):
    """A binding is a lease that somebody would have to renew."""

    rests, then = State.CONFIGURED, State.IDLE


@mutant("LIF-3", "LIF-3a")
class BindingsFail(Restless):
    """A health check that nobody set up marks every machine as broken."""

    rests, then = State.CONFIGURED, State.FAILED


@mutant("LIF-3", "LIF-3b")
class SlotsComeAlive(Core):
    """A warm-pool loop starts slots by itself, the ones that somebody looks at first."""

    def shown_in_get(self, machine: Machine) -> Machine:
        looked: dict[str, int] = self.__dict__.setdefault("looked", {})
        looked[machine.id] = looked.get(machine.id, 0) + 1
        if machine.state is State.SPECULATIVE and looked[machine.id] > 5:
            return self.put(replace(machine, state=State.CREATING))
        return machine


# LIF-9: the others.


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


@mutant("LIF-9", "LIF-9a")
class DrainEmptiesTheFleet(MovesOthers):
    """Drains by instance type instead of by machine."""

    verb, rests, then = Verb.DRAIN, State.CONFIGURED, State.IDLE


@mutant("LIF-9", "LIF-9a")
class ConfigureWakesNeighbours(MovesOthers):
    """Applies a template to the whole group."""

    verb, rests, then = Verb.CONFIGURE, State.IDLE, State.CONFIGURED


@mutant("LIF-9", "LIF-9b")
class CreateHostsTheWrongSlotToo(Core):
    """Keeps the slot that was looked up last in one place for all callers, and attaches the host there as well."""

    def shown_in_get(self, machine: Machine) -> Machine:
        self.__dict__["last"] = machine.id
        return machine

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        other = self.machines[self.__dict__.get("last", machine.id)]
        if verb is Verb.CREATE and other.state is State.SPECULATIVE and other.id != machine.id:
            self.put(replace(other, host=host_for(machine.id)))
        return super().start(verb, machine, request, now)


@mutant("LIF-9", "LIF-9a")
class ConfigureMovesTheLastBinding(Core):
    """A shared map from shard to cluster: the last Configure's cluster shows on everything that is bound."""

    def bound(self, machine: Machine, request: Any) -> Machine:
        for other in list(self.machines.values()):
            if other.state is State.CONFIGURED:
                self.put(replace(other, cluster=request.cluster))
        return super().bound(machine, request)


# LIF-10: the ack does not wait.


class Waits(Servicer):
    """Not a mutant: answers when the machine has settled."""

    async def when_settled(self, request: Fenced, ack: pb.TransitionAck) -> pb.TransitionAck:
        while self.core.machines[request.machine_id].moving:
            await asyncio.sleep(0.01)
        return pb.TransitionAck(
            operation_id=ack.operation_id, machine=self.machine(self.core.machines[request.machine_id])
        )


@mutant("LIF-10", "LIF-10a", latency="40ms,drain=1200ms")
class DrainWaitsForItsEnd(Waits):
    """Evicts every pod before it answers."""

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        return await self.when_settled(request, await super().Drain(request, context))


@mutant("LIF-10", "LIF-10a", latency="40ms,configure=1200ms")
class ConfigureWaitsForItsEnd(Waits):
    """Answers when the node has joined."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        return await self.when_settled(request, await super().Configure(request, context))


# LIF-11: the ack's snapshot.


@mutant("LIF-11", "LIF-11a")
class AckShowsTheSource(Core):
    """The snapshot is taken before the work begins."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, state=EDGES[verb].source) if machine.moving else machine


@mutant("LIF-11", "LIF-11a")
class CreateAckShowsASlot(Core):
    """Create answers with the row as it was read."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, state=State.SPECULATIVE) if verb is Verb.CREATE else machine


@mutant("LIF-11", "LIF-11a")
class RetryAckShowsTheSource(Core):
    """The stored answer of the first call is the machine as it was before."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        before = self.machines.get(request.machine_id)
        ack = super().serve(verb, request, now)
        again = before is not None and before.state in (EDGES[verb].via, EDGES[verb].target)
        return replace(ack, machine=replace(ack.machine, state=EDGES[verb].source)) if again else ack


@mutant("LIF-11", "LIF-11a")
class AckShowsNoMachine(Servicer):
    """Answers with an operation_id alone."""

    def ack(self, ack: Ack) -> pb.TransitionAck:
        return pb.TransitionAck(operation_id=ack.operation_id)


@mutant("LIF-11", "LIF-11b")
class AckShowsTheLastMachine(Core):
    """One field for the snapshot, shared by all calls that come at the same moment."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        last: Machine = self.__dict__.get("last", machine)
        self.__dict__["last"] = machine
        moved = last.operation and machine.operation and abs(last.operation.due - machine.operation.due) < 0.02
        return last if moved else machine


# LIF-12: no grace.


@mutant("LIF-12", "LIF-12a")
class GraceZeroNeverEnds(Core):
    """Zero means no deadline, and the drain waits for ever."""

    def schedule(self, machine: Machine, now: float) -> None:
        if machine.state is not State.DRAINING:
            super().schedule(machine, now)


@mutant("LIF-12", "LIF-12a")
class GraceZeroIsUndone(Core):
    """A drain whose deadline has passed at once is rolled back."""

    def settle(self, machine: Machine) -> Machine:
        drained = machine.operation and machine.operation.verb is Verb.DRAIN
        return replace(machine, state=State.CONFIGURED) if drained else super().settle(machine)


@mutant("LIF-12", "LIF-12a")
class GraceZeroIsRefused(Core):
    """Checks for a grace period that is greater than zero."""

    def validate_grace(self, request: Drain) -> None:
        if request.grace <= 0:
            raise Rejected(Code.INVALID_ARGUMENT, "grace_period_seconds must be positive")


@mutant("LIF-12", "LIF-12a")
class GraceZeroFailsWithoutAWord(Core):
    """A drain that had no time for evictions ends in FAILED, and does not say why."""

    def settle(self, machine: Machine) -> Machine:
        drained = machine.operation and machine.operation.verb is Verb.DRAIN
        return self.failed(machine, "") if drained else super().settle(machine)


@mutant("LIF-12", "LIF-12a")
class DrainedMachinesComeBack(Core):
    """The controller that drains is not the only one: another puts the binding back a moment later."""

    def advance(self, now: float) -> None:
        super().advance(now)
        for machine in list(self.machines.values()):
            operation = machine.operation
            if machine.state is State.IDLE and operation and operation.verb is Verb.DRAIN and now > operation.due + 0.05:
                self.put(replace(machine, state=State.CONFIGURED, cluster="again"))
