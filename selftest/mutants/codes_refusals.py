"""Providers whose refusal of a call without an edge has an effect (contract §4, COD-2 and COD-3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import EDGES, Machine, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.request import Request


class _RefusesWithAnEffect(Core):
    """Refuses a call that has no edge, after an effect."""

    verb: Verb
    rests: State

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if (verb, machine.state) == (self.verb, self.rests):
            self.effect(machine)
        super().check_edge(verb, machine, request)

    def effect(self, machine: Machine) -> None:
        raise NotImplementedError


@mutant("COD-2", "COD-2b")
class RefusedDeleteUnbinds(_RefusesWithAnEffect):
    """Removes a CONFIGURED machine from its cluster before it refuses a Delete."""

    verb, rests = Verb.DELETE, State.CONFIGURED

    def effect(self, machine: Machine) -> None:
        self.put(replace(machine, cluster=""))


@mutant("COD-2", "COD-2b")
class RefusedCreateForgetsTheOperation(_RefusesWithAnEffect):
    """Clears the last operation before it refuses a Create."""

    verb, rests = Verb.CREATE, State.CONFIGURED

    def effect(self, machine: Machine) -> None:
        if machine.operation:
            self.put(replace(machine, operation=replace(machine.operation, id=machine.operation.id + "-")))


@mutant("COD-2", "COD-2a")
class RefusedConfigureBindsTheSlot(_RefusesWithAnEffect):
    """Writes the cluster to a SPECULATIVE machine before it refuses a Configure."""

    verb, rests = Verb.CONFIGURE, State.SPECULATIVE

    def effect(self, machine: Machine) -> None:
        self.put(replace(machine, cluster="early"))


@mutant("COD-2", "COD-2e", latency="250ms", machines=96)
class RefusedDrainOfIdleFails(_RefusesWithAnEffect):
    """Marks an IDLE machine as FAILED when it refuses a Drain."""

    verb, rests = Verb.DRAIN, State.IDLE

    def effect(self, machine: Machine) -> None:
        self.put(replace(machine, state=State.FAILED, last_error="nothing to drain"))


@mutant("COD-2", "COD-2d", latency="120ms")
class RefusedCreateEndsTheBootstrap(_RefusesWithAnEffect):
    """Cancels a running Configure before it refuses a Create."""

    verb, rests = Verb.CREATE, State.CONFIGURING

    def effect(self, machine: Machine) -> None:
        self.put(replace(machine, state=State.IDLE, cluster="", shard_metadata={}))


@mutant("COD-2", "COD-2i", latency="120ms")
class RefusedConfigureEndsTheTermination(_RefusesWithAnEffect):
    """Cancels a running Delete before it refuses a Configure."""

    verb, rests = Verb.CONFIGURE, State.DELETING

    def effect(self, machine: Machine) -> None:
        self.put(replace(machine, state=State.IDLE))


@mutant("COD-2", "COD-2g", latency="250ms")
class RefusedDrainEndsTheBootstrap(_RefusesWithAnEffect):
    """Cancels a running Configure before it refuses a Drain."""

    verb, rests = Verb.DRAIN, State.CONFIGURING

    def effect(self, machine: Machine) -> None:
        self.put(replace(machine, state=State.IDLE, cluster="", shard_metadata={}))


@mutant("COD-2", "COD-2d", "OPS-6b", latency="120ms")
class RefusedDeleteUnbindsInFlight(_RefusesWithAnEffect):
    """Removes a CONFIGURING machine from its cluster before it refuses a Delete."""

    verb, rests = Verb.DELETE, State.CONFIGURING

    def effect(self, machine: Machine) -> None:
        self.put(replace(machine, cluster=""))


@mutant("COD-2", "COD-2f", latency="120ms")
class RefusedDeleteEndsTheDrain(_RefusesWithAnEffect):
    """Cancels a running Drain before it refuses a Delete."""

    verb, rests = Verb.DELETE, State.DRAINING

    def effect(self, machine: Machine) -> None:
        self.put(replace(machine, state=State.CONFIGURED))


@mutant(
    "COD-3",
    "COD-2a",
    "COD-2b",
    "COD-2d",
    "COD-2e",
    "COD-2f",
    "COD-2g",
    "COD-2h",
    "COD-2i",
    "COD-3a",
    "COD-3d",
    "COD-3b",
    latency="250ms",
)
class NoEdgeIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION to a call that has no edge."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        return Rejected(Code.FAILED_PRECONDITION, f"cannot {verb} while {machine.state.name}, not {EDGES[verb].source}")


class _SaysTryAgain(Core):
    """Refuses a call that has no edge from one state with a code that says "try again"."""

    code: Code
    rests: State

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        return Rejected(self.code, "later, perhaps") if machine.state is self.rests else super().no_edge(verb, machine)


@mutant("COD-2", "COD-2l")
class SlotSaysTryAgain(_SaysTryAgain):
    """Answers UNAVAILABLE to a call that a SPECULATIVE machine has no edge for."""

    code, rests = Code.UNAVAILABLE, State.SPECULATIVE


@mutant("COD-2", "COD-2m")
class BoundMachineSaysTryAgain(_SaysTryAgain):
    """Answers RESOURCE_EXHAUSTED to a call that a CONFIGURED machine has no edge for."""

    code, rests = Code.RESOURCE_EXHAUSTED, State.CONFIGURED
