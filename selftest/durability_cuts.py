"""Providers that get transitions wrong which a kill has cut short (DUR-3)."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.fleet import host_for
from fake_provider.machine import EDGES, State, Verb
from selftest.durable import Restarted, durable

if TYPE_CHECKING:
    from fake_provider.machine import Host, Machine, Operation
    from fake_provider.request import Request
    from fake_provider.store import Snapshot

LATENCY = "400ms"


class Cuts(Restarted):
    """Not a mutant: treats transitions that a kill has cut short in its own way."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        """Returns a machine in transition as it is after the restart."""
        raise NotImplementedError

    def restored_part(self, saved: Snapshot) -> Snapshot:
        machines = {each.id: self._restored(each) for each in saved.machines.values()}
        return replace(saved, machines=machines)

    def _restored(self, machine: Machine) -> Machine:
        return self.cut(machine, machine.operation.verb) if machine.moving and machine.operation else machine

    def undone(self, machine: Machine) -> Machine:
        """Returns the machine as it was before the transition."""
        operation = machine.operation
        if operation is None:
            return machine
        back = replace(machine, state=EDGES[operation.verb].source, operation=None)
        match operation.verb:
            case Verb.CREATE:
                return replace(back, created_by="")
            case Verb.CONFIGURE:
                return self.cleared_by_drain(back)
            case _:
                return back


@durable("DUR-3b", latency=LATENCY)
class CutTransitionsHang(Cuts):
    """Does not schedule the end of a transition again."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return replace(machine, operation=None)


@durable("DUR-3b", latency=LATENCY)
class CutDrainsHang(CutTransitionsHang):
    """Goes on with all transitions but Drains."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return super().cut(machine, verb) if verb is Verb.DRAIN else machine


@durable("DUR-3b", latency=LATENCY)
class CutConfiguresAreDoneWithoutMetadata(Cuts):
    """Goes on with a Configure, without the metadata, which it has only saved at the end."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return replace(machine, shard_metadata={}) if verb is Verb.CONFIGURE else machine


@durable("DUR-3b", latency=LATENCY)
class CutCreatesStartAgain(Cuts):
    """Starts a cut transition a second time, as another operation."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        operation = machine.operation
        if operation is None:
            return machine
        again = replace(operation, id=f"{operation.id}-again")
        created = again.id if verb is Verb.CREATE else machine.created_by
        return replace(machine, operation=again, created_by=created)


@durable("DUR-1e", latency=LATENCY)
class UndoneCreatesKeepTheirHost(Cuts):
    """Undoes a Create, but keeps the host that has been started for it."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        undone = self.undone(machine)
        return replace(undone, host=host_for(machine.id)) if verb is Verb.CREATE else undone


@durable("DUR-3b", latency=LATENCY)
class UndoneConfiguresKeepTheirMetadata(Cuts):
    """Undoes a Configure, but leaves its metadata behind."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        undone = self.undone(machine)
        return replace(undone, shard_metadata=machine.shard_metadata) if verb is Verb.CONFIGURE else undone


@durable("DUR-3b", latency=LATENCY)
class UndoneDeletesGetAnotherHost(Cuts):
    """Undoes a Delete with a new host, because the old one is gone."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        undone = self.undone(machine)
        return replace(undone, host=host_for(f"{machine.id}-again")) if verb is Verb.DELETE else undone


@durable("DUR-3b", latency=LATENCY)
class CutDrainsEndInSpeculative(Cuts):
    """Deletes a machine whose Drain was cut short."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        if verb is not Verb.DRAIN:
            return machine
        return replace(self.cleared_by_delete(machine), state=State.SPECULATIVE, operation=None)


@durable("DUR-3b", latency=LATENCY)
class CutTransitionsFailWithoutAnError(Cuts):
    """Makes a cut transition fail, and does not say why."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.failed(machine, "")


@durable("DUR-3b", latency=LATENCY)
class CutTransitionsSucceedLate(Cuts):
    """Makes a cut transition fail, and lets it succeed after all when the cloud answers."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        self.kept["late"] = time.monotonic() + 0.15
        return self.failed(machine, "the provider was restarted")

    def advance(self, now: float) -> None:
        super().advance(now)
        if time.monotonic() < self.kept.get("late", 0.0):
            return
        for machine in list(self.machines.values()):
            if machine.state is State.FAILED and machine.operation:
                self.put(self.settle(replace(machine, last_error="", state=EDGES[machine.operation.verb].via)))
        self.commit()


class _EndsAreLost(Restarted):
    """Not a mutant: loses the end of a transition that has ended just before the kill."""

    def begun_again(self, machine: Machine, operation: Operation, now: float) -> Machine:
        """Returns a machine whose transition has ended just before the kill."""
        raise NotImplementedError

    def resume(self, now: float) -> None:
        super().resume(now)
        for machine in list(self.machines.values()):
            operation = machine.operation
            fresh = self.kills and operation and machine.state is EDGES[operation.verb].target
            if fresh and operation and now - operation.due < 1.0:
                self.put(self.begun_again(machine, operation, now))
        self.commit()
        self.inventory.reschedule()


@durable("DUR-1f")
class EndsOfTransitionsAreSavedLater(_EndsAreLost):
    """Saves the end of a transition with the next change, and begins it again after a restart."""

    def begun_again(self, machine: Machine, operation: Operation, now: float) -> Machine:
        return replace(machine, state=EDGES[operation.verb].via, operation=replace(operation, due=now + 1.0))


@durable("DUR-1f")
class EndsOfDeletesAreUndone(_EndsAreLost):
    """Takes a machine back whose Delete has ended, because the cloud still lists its host."""

    def begun_again(self, machine: Machine, operation: Operation, now: float) -> Machine:
        if operation.verb is not Verb.DELETE:
            return machine
        return replace(machine, state=State.IDLE, host=host_for(f"{machine.id}-old"))


class _StartsHostsEarly(Cuts):
    """Not a mutant: starts the host of a Create before its ack, under a name of its own."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        started = super().start(verb, machine, request, now)
        if verb is Verb.CREATE and started.operation:
            self.start_host(self.new_host(started, started.operation))
        return started


@durable("DUR-6a", latency=LATENCY, backend=True)
class CutCreatesStartASecondHost(_StartsHostsEarly):
    """Goes on with a cut Create, but does not know its host, and starts another one."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return machine

    def new_host(self, machine: Machine, operation: Operation) -> Host:
        return host_for(f"{operation.id}-{self.kills}")


@durable("DUR-6a", latency=LATENCY, backend=True)
class UndoneCreatesLeaveTheirHost(_StartsHostsEarly):
    """Undoes a Create, and leaves the host running that was started for it."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.undone(machine) if verb is Verb.CREATE else machine


@durable("DUR-6a", latency=LATENCY, backend=True)
class CutDeletesLeaveTheirHost(Cuts):
    """Takes a cut Delete for done, although its host still runs."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        if verb is not Verb.DELETE:
            return machine
        return replace(self.cleared_by_delete(machine), state=State.SPECULATIVE)
