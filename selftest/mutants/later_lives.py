"""Providers whose defect shows late in a machine's life: in its second life, third binding or fifth Drain (§2, §3, §6).

Most of them are found because the pool gives the same machine to many behaviours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import EDGES, Machine, Operation, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.machine import Host
    from fake_provider.request import Ack, Configure, Request


class _Counted(Core):
    """Not a mutant: counts the transitions that each machine has started, by verb."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        counts: dict[tuple[str, Verb], int] = self.__dict__.setdefault("counts", {})
        counts[machine.id, verb] = counts.get((machine.id, verb), 0) + 1
        return super().start(verb, machine, request, now)

    def number(self, machine: Machine, verb: Verb) -> int:
        """Returns how many transitions of `verb` the machine has started."""
        counts: dict[tuple[str, Verb], int] = self.__dict__.get("counts", {})
        return counts.get((machine.id, verb), 0)


# Later lives.


@mutant("LIF-5", "LIF-5d", whole=True)
class LaterLivesBeginWithTheOldHost(Core):
    """Shows the host of the last life while a slot is CREATING again."""

    def cleared_by_delete(self, machine: Machine) -> Machine:
        if machine.host is not None:
            hosts: dict[str, Host] = self.__dict__.setdefault("hosts", {})
            hosts[machine.id] = machine.host
        return super().cleared_by_delete(machine)

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        moving = super().in_transition(verb, machine, request, operation)
        old: Host | None = self.__dict__.get("hosts", {}).get(machine.id)
        return replace(moving, host=old) if verb is Verb.CREATE else moving


@mutant("OPS-3", "OPS-3a", whole=True)
class ThirdCreateHasTheFirstId(_Counted):
    """Gives the third Create of a slot the operation_id of the first."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        first: dict[str, str] = self.__dict__.setdefault("first", {})
        if verb is not Verb.CREATE:
            return super().new_operation_id(verb, machine)
        if self.number(machine, verb) == 3:
            return first[machine.id]
        operation_id = super().new_operation_id(verb, machine)
        first.setdefault(machine.id, operation_id)
        return operation_id


# Later bindings and drains.


@mutant("MET-2", "MET-2c", whole=True)
class ThirdBindingHasTheKeysOfTheSecond(_Counted):
    """Adds the metadata of the binding before to each third Configure of a machine."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        earlier: dict[str, dict[str, str]] = self.__dict__.setdefault("earlier", {})
        bound = super().bound(machine, request)
        if self.number(machine, Verb.CONFIGURE) % 3 == 0:
            bound = replace(bound, shard_metadata={**earlier.get(machine.id, {}), **bound.shard_metadata})
        earlier[machine.id] = dict(request.metadata)
        return bound


@mutant("OPS-3", "OPS-3a", whole=True)
class ThirdConfigureHasTheFirstId(_Counted):
    """Gives the third Configure of a machine the operation_id of the first."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        first: dict[str, str] = self.__dict__.setdefault("first", {})
        if verb is Verb.CONFIGURE and self.number(machine, verb) == 3:
            return first[machine.id]
        operation_id = super().new_operation_id(verb, machine)
        if verb is Verb.CONFIGURE:
            first.setdefault(machine.id, operation_id)
        return operation_id


@mutant("MET-2", "MET-2a", whole=True)
class FifthDrainLeavesTheMetadata(_Counted):
    """Does not clear the metadata at the end of each fifth Drain of a machine."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        cleared = super().cleared_by_drain(machine)
        left = self.number(machine, Verb.DRAIN) % 5 == 0
        return replace(cleared, shard_metadata=machine.shard_metadata) if left else cleared


# Two machines at the same time.


class _OneAtATime(Core):
    """Not a mutant: a transition of `verb` never ends if another machine starts one meanwhile."""

    verb: Verb

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        started = super().start(verb, machine, request, now)
        if verb is self.verb and started.operation:
            self.__dict__["last"] = started.operation.id
        return started

    def is_running(self, machine: Machine, operation_id: str) -> bool:
        lost = machine.operation and machine.operation.verb is self.verb and self.__dict__.get("last") != operation_id
        return super().is_running(machine, operation_id) and not lost


@mutant("LIF-1", "LIF-1a", whole=True)
class TheNextCreateTakesTheWorker(_OneAtATime):
    """Never ends a Create if another machine's Create starts meanwhile."""

    verb = Verb.CREATE


@mutant("LIF-1", "LIF-1a", whole=True)
class TheNextDeleteTakesTheWorker(_OneAtATime):
    """Never ends a Delete if another machine's Delete starts meanwhile."""

    verb = Verb.DELETE


# Bindings that only the pool drains.


@mutant("LIF-1", "LIF-1a", whole=True)
class LabelledNodesAreNeverDrained(Core):
    """Never ends a Drain if the binding has a key that a node has too; only the pool drains such a one."""

    def is_running(self, machine: Machine, operation_id: str) -> bool:
        stuck = machine.state is State.DRAINING and "kubernetes.io/hostname" in machine.shard_metadata
        return super().is_running(machine, operation_id) and not stuck


@mutant("LIF-1", "LIF-1a", whole=True)
class LabelledNodesAreProtected(Core):
    """Refuses a Drain if the binding has a key that a node has too; only the pool drains such a one."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        super().check_edge(verb, machine, request)
        if verb is Verb.DRAIN and "kubernetes.io/hostname" in machine.shard_metadata:
            raise Rejected(Code.ABORTED, "the node is in use")


# After a refused call.


@mutant("LIF-1", "LIF-1a", whole=True)
class ADrainAfterARefusedOneDoesNothing(Core):
    """Acknowledges a Drain and does nothing if the last Drain of the machine was refused at SPECULATIVE."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        refused: set[str] = self.__dict__.setdefault("refused", set())
        if verb is Verb.DRAIN and machine.state is State.SPECULATIVE:
            refused.add(machine.id)
        super().check_edge(verb, machine, request)

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        refused: set[str] = self.__dict__.setdefault("refused", set())
        if verb is Verb.DRAIN and machine.id in refused:
            refused.remove(machine.id)
            return self.put(replace(machine, operation=Operation(verb=verb, id=self.new_operation_id(verb, machine))))
        return super().start(verb, machine, request, now)

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        nothing_runs = verb is Verb.DRAIN and machine.state is State.CONFIGURED
        return replace(machine, state=State.DRAINING) if nothing_runs else machine


class _Queued(Core):
    """Not a mutant: performs a call that it refused in `refused_in` when the machine rests in its source state."""

    verb: Verb
    refused_in: State

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        if verb is self.verb and machine.state is self.refused_in:
            self.__dict__.setdefault("queued", set()).add(machine.id)
        return super().no_edge(verb, machine)

    def advance(self, now: float) -> None:
        super().advance(now)
        queued: set[str] = self.__dict__.setdefault("queued", set())
        for machine_id in sorted(queued):
            machine = self.machines[machine_id]
            if machine.state is EDGES[self.verb].source:
                queued.remove(machine_id)
                operation = Operation(verb=self.verb, id=self.new_operation_id(self.verb, machine), due=now + 0.04)
                moving = self.put(replace(machine, state=EDGES[self.verb].via, operation=operation))
                self.schedule(moving, now)


@mutant("COD-2", "COD-2j")
class ADeleteOfACreatingSlotComesLater(_Queued):
    """Refuses Delete while a slot is CREATING, and deletes the machine when it is there."""

    verb, refused_in = Verb.DELETE, State.CREATING


@mutant("COD-2", "COD-2g")
class ADrainOfAConfiguringMachineComesLater(_Queued):
    """Refuses Drain while a machine is CONFIGURING, and drains it when it is bound."""

    verb, refused_in = Verb.DRAIN, State.CONFIGURING


@mutant("OPS-2", "OPS-2a", whole=True)
class ADeleteOfACreatingSlotForgetsTheCreate(Core):
    """Refuses Delete while a slot is CREATING, but forgets the Create that runs, so that its retry is a new one."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        if verb is Verb.DELETE and machine.state is State.CREATING:
            self.put(replace(machine, created_by=f"{machine.created_by}-"))
        return super().no_edge(verb, machine)


@mutant("COD-2", "COD-2j")
class ADeleteOfASlotStopsItsNextCreate(Core):
    """Ends the next Create of a slot in SPECULATIVE after a Delete of it, although that was refused or a retry."""

    def validate(self, verb: Verb, request: Request) -> None:
        slot = self.machines[request.machine_id]
        if verb is Verb.DELETE and slot.state is State.SPECULATIVE:
            self.__dict__.setdefault("stopped", set()).add(slot.id)
        super().validate(verb, request)

    def settle(self, machine: Machine) -> Machine:
        stopped: set[str] = self.__dict__.setdefault("stopped", set())
        if machine.state is State.CREATING and machine.id in stopped:
            stopped.remove(machine.id)
            return replace(machine, state=State.SPECULATIVE, created_by="")
        return super().settle(machine)


# Create at the moment SPECULATIVE appears.


class _JustDeleted(Core):
    """Not a mutant: knows when each machine was deleted."""

    def advance(self, now: float) -> None:
        self.__dict__["now"] = now
        super().advance(now)

    def cleared_by_delete(self, machine: Machine) -> Machine:
        self.__dict__.setdefault("deleted", {})[machine.id] = (self.__dict__["now"], machine.created_by)
        return super().cleared_by_delete(machine)

    def just_deleted(self, machine_id: str) -> bool:
        """Returns whether the machine was deleted within the last 30 ms."""
        deleted: dict[str, tuple[float, str]] = self.__dict__.get("deleted", {})
        return machine_id in deleted and self.__dict__["now"] - deleted[machine_id][0] < 0.03


@mutant("OPS-3", "OPS-3b")
class ASlotIsNotFreeAtOnce(_JustDeleted):
    """Refuses Create for 30 ms after SPECULATIVE has appeared."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        super().check_edge(verb, machine, request)
        if verb is Verb.CREATE and self.just_deleted(machine.id):
            raise Rejected(Code.ALREADY_EXISTS, "its host is still there")


@mutant("OPS-3", "OPS-3b")
class TheLastCreateIsRememberedForAMoment(_JustDeleted):
    """Answers a Create with the operation of the last life for 30 ms after SPECULATIVE has appeared."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        if verb is Verb.CREATE and machine.state is State.SPECULATIVE and self.just_deleted(machine.id):
            created_by: str = self.__dict__["deleted"][machine.id][1]
            return created_by
        return super().retry_of(verb, machine, request)


@mutant("OPS-3", "OPS-3b")
class TheCleanUpTakesTheNextHost(_JustDeleted):
    """Clears a slot once more 20 ms after SPECULATIVE has appeared, whatever was created there meanwhile."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        ack = super().serve(verb, request, now)
        if verb is Verb.CREATE and self.just_deleted(request.machine_id):
            self.__dict__.setdefault("cleaned", {})[request.machine_id] = now + 0.02
        return ack

    def advance(self, now: float) -> None:
        super().advance(now)
        cleaned: dict[str, float] = self.__dict__.setdefault("cleaned", {})
        for machine_id in [each for each, due in cleaned.items() if due <= now]:
            del cleaned[machine_id]
            slot = self.cleared_by_delete(self.machines[machine_id])
            self.put(replace(slot, state=State.SPECULATIVE, operation=None))
