"""Providers with wrong transitions, or whose machines do not rest (contract §2, LIF-1 to LIF-3)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import EDGES, TRANSITIONAL, Machine, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.request import Request

# LIF-1: the edges.


@mutant("LIF-12", "LIF-12a", "LIF-1a")
class DrainGivesTheHostBack(Core):
    """Releases the host when a Drain ends."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return replace(self.cleared_by_delete(machine), state=State.SPECULATIVE)


@mutant("LIF-1", "LIF-1a")
class DeleteEndsIdle(Core):
    """Ends a Delete in IDLE."""

    def settle(self, machine: Machine) -> Machine:
        gone = machine.operation and machine.operation.verb is Verb.DELETE
        return replace(machine, state=State.IDLE) if gone else super().settle(machine)


@mutant("LIF-1", "LIF-1b")
class BoundOnce(Core):
    """Refuses a second Configure of the same machine, because Drain does not reset its `used` flag."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        used = self.__dict__.setdefault("used", {})
        if verb is Verb.CONFIGURE and machine.state is State.IDLE:
            used[machine.id] = used.get(machine.id, 0) + 1
            if used[machine.id] > 1:
                raise Rejected(Code.ABORTED, "in use")
        super().check_edge(verb, machine, request)


@mutant("LIF-1", "LIF-1a", "LIF-1b")
class ConfigureEndsIdle(Core):
    """Ends a Configure in IDLE."""

    def settle(self, machine: Machine) -> Machine:
        bound = machine.operation and machine.operation.verb is Verb.CONFIGURE
        return replace(machine, state=State.IDLE, cluster="") if bound else super().settle(machine)


@mutant("LIF-1", "LIF-1a")
class CreateIsRefused(Core):
    """Refuses to create a machine that has no host yet."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if verb is Verb.CREATE and not machine.host:
            raise Rejected(Code.ABORTED, "no host")
        super().check_edge(verb, machine, request)


# LIF-2: states during a transition.


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


@mutant(
    "LIF-2",
    "LIF-2a",
    latency="120ms",
    also=(
        "COD-2e",
        "LIF-5b",
        "FEN-5e",
        "OPS-2a",
    ),
    because="they expect the properties of an IDLE machine from one that looks IDLE",
)
class CreatingLooksIdleAtFirst(ShownWrong):
    """Shows a CREATING machine as IDLE in the first two Gets."""

    real, shown, looks = State.CREATING, State.IDLE, 2


@mutant("LIF-2", "LIF-2b", latency="120ms")
class ConfiguringLooksConfiguredAtFirst(ShownWrong):
    """Shows a CONFIGURING machine as CONFIGURED in the first two Gets."""

    real, shown, looks = State.CONFIGURING, State.CONFIGURED, 2


@mutant("LIF-2", "LIF-2c", latency="120ms")
class DrainingLooksIdleAtFirst(ShownWrong):
    """Shows a DRAINING machine as IDLE in the first two Gets."""

    real, shown, looks = State.DRAINING, State.IDLE, 2


@mutant(
    "LIF-2",
    "LIF-2d",
    latency="120ms",
    also=(
        "COD-2c",
        "FEN-5c",
    ),
    because="a behaviour that gets such a machine sees it change",
)
class DeletingLooksIdle(ShownWrong):
    """Shows a DELETING machine as IDLE in Get."""

    real, shown = State.DELETING, State.IDLE


@mutant(
    "LIF-2",
    "LIF-2a",
    latency="120ms",
    alone="the kit takes its CREATING machines for returned ones, and few machines remain",
)
class CreatingLooksSpeculative(ShownWrong):
    """Shows a CREATING machine as SPECULATIVE in Get."""

    real, shown = State.CREATING, State.SPECULATIVE


@mutant(
    "LIF-2",
    "LIF-2b",
    latency="120ms",
    alone="the kit leases its CONFIGURING machines as IDLE, and their calls are refused",
)
class ConfiguringLooksIdle(ShownWrong):
    """Shows a CONFIGURING machine as IDLE in Get."""

    real, shown = State.CONFIGURING, State.IDLE


@mutant(
    "LIF-2",
    "LIF-2c",
    latency="120ms",
    also=("COD-4f",),
    because="a DRAINING machine seems to be at rest",
)
class DrainingLooksConfigured(ShownWrong):
    """Shows a DRAINING machine as CONFIGURED in Get."""

    real, shown = State.DRAINING, State.CONFIGURED


@mutant(
    "LIF-2",
    "LIF-2b",
    latency="120ms",
    also=("LIF-5d", "LIF-6f"),
    because="a machine that looks CREATING shows its host and cluster",
)
class ConfiguringLooksCreating(ShownWrong):
    """Shows a CONFIGURING machine as CREATING in Get."""

    real, shown = State.CONFIGURING, State.CREATING


@mutant("LIF-2", "LIF-2c", latency="120ms")
class DrainingLooksDeleting(ShownWrong):
    """Shows a DRAINING machine as DELETING in Get."""

    real, shown = State.DRAINING, State.DELETING


@mutant(
    "LIF-2",
    "LIF-2b",
    "LIF-2c",
    latency="120ms",
    also=("LIF-6d", "MET-2a"),
    because="List shows a machine as IDLE that still has a cluster and metadata",
)
class ListShowsTheDesiredState(Core):
    """Shows the target state in List while a transition runs."""

    def shown_in_list(self, machine: Machine) -> Machine:
        moving = machine.state in TRANSITIONAL and machine.operation
        return replace(machine, state=EDGES[moving.verb].target) if moving else machine

    def matches(self, machine: Machine, wanted: Any) -> bool:
        return super().matches(self.shown_in_list(machine), wanted)


# LIF-3: rest.


class Restless(Core):
    """Not a mutant: a machine leaves one state by itself after a while."""

    rests: State
    then: State

    def advance(self, now: float) -> None:
        super().advance(now)
        for machine in list(self.machines.values()):
            operation = machine.operation
            if machine.state is self.rests and operation and now > operation.due + 0.2:
                self.put(replace(machine, state=self.then, cluster="", shard_metadata={}))


@mutant("LIF-3", "LIF-3a")
class IdleReaper(Restless):
    """Takes IDLE machines back to SPECULATIVE after a while."""

    rests, then = State.IDLE, State.SPECULATIVE


@mutant("LIF-3", "LIF-3a", "OPS-6b")
class BindingsExpire(Restless):
    """Takes CONFIGURED machines back to IDLE after a while."""

    rests, then = State.CONFIGURED, State.IDLE


@mutant(
    "LIF-3",
    "LIF-3a",
    alone="every CONFIGURED machine fails, so machines run out, and which behaviour sees it first is random",
)
class BindingsFail(Restless):
    """Marks CONFIGURED machines as FAILED after a while."""

    rests, then = State.CONFIGURED, State.FAILED


@mutant("LIF-3", "LIF-3b", alone="the kit takes machines that start by themselves for another client's")
class SlotsComeAlive(Core):
    """Starts SPECULATIVE machines by itself after several Gets."""

    def shown_in_get(self, machine: Machine) -> Machine:
        looked: dict[str, int] = self.__dict__.setdefault("looked", {})
        looked[machine.id] = looked.get(machine.id, 0) + 1 if machine.state is State.SPECULATIVE else 0
        return self.put(replace(machine, state=State.CREATING)) if looked[machine.id] > 7 else machine
