"""Providers whose defect shows at times, mostly when the pool prepares and returns machines (contract §2, §12).

A behaviour that meets it is judged again on another machine. The run must be non-conformant because the pool saw it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.request import Filter, Listing


class _AtTimes(Core):
    """Not a mutant: counts the transitions that end, by the transitional state."""

    def settle(self, machine: Machine) -> Machine:
        counts: dict[State, int] = self.__dict__.setdefault("counts", {})
        counts[machine.state] = counts.get(machine.state, 0) + 1
        return self.settled(machine, counts[machine.state])

    def settled(self, machine: Machine, number: int) -> Machine:
        """Returns the machine at the end of the transition, which is the `number`th of its verb."""
        return super().settle(machine)


@mutant("LIF-1", "LIF-1a", whole=True)
class LabelsAreNotDrained(Core):
    """Ends a Drain in CONFIGURED if the binding has a key that a node has too; only the pool drains such a one."""

    def settle(self, machine: Machine) -> Machine:
        if machine.state is State.DRAINING and "kubernetes.io/hostname" in machine.shard_metadata:
            return replace(machine, state=State.CONFIGURED)
        return super().settle(machine)


@mutant("LIF-1", "LIF-1a", whole=True)
class CreateIsUndoneAtTimes(_AtTimes):
    """Ends every eleventh Create in SPECULATIVE."""

    def settled(self, machine: Machine, number: int) -> Machine:
        if machine.state is State.CREATING and number % 11 == 0:
            return replace(machine, state=State.SPECULATIVE, created_by="")
        return super().settled(machine, number)


@mutant("SHP-4", "SHP-4a", whole=True)
class LastErrorAtTimes(_AtTimes):
    """Leaves a last_error after every 31st Drain."""

    def settled(self, machine: Machine, number: int) -> Machine:
        settled = super().settled(machine, number)
        left = machine.state is State.DRAINING and number % 31 == 0
        return replace(settled, last_error="a pod did not stop in time") if left else settled


@mutant("LST-2", "LST-2c")
class NoCapIsNoMachine(Core):
    """Takes a max_results of 0 literally: the List is empty, and a run finds no machine to drive."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        return listing if wanted.max_results else replace(listing, machines=[])


@mutant("LST-1", "LST-1d")
class NoFilterMatchesNothing(Core):
    """Returns no machine if the filter names no state."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return machine.state in wanted.states


@mutant("LST-2", "LST-2c")
class CapIsRequired(Core):
    """Refuses a List without max_results."""

    def validate_filter(self, wanted: Filter) -> None:
        super().validate_filter(wanted)
        if not wanted.max_results:
            raise Rejected(Code.INVALID_ARGUMENT, "max_results must be positive")


@mutant("FEN-8", "FEN-8a")
class FencedList(Core):
    """Fences List, which has no token."""

    def validate_filter(self, wanted: Filter) -> None:
        raise Rejected(Code.FAILED_PRECONDITION, "a token is needed")


@mutant("LST-4", "LST-4d")
class SlotsAreOnlyListed(Core):
    """Finds a machine only once it was created; List shows the free slots too."""

    def get(self, machine_id: str, now: float) -> Machine:
        machine = super().get(machine_id, now)
        if machine.state is State.SPECULATIVE:
            raise Rejected(Code.NOT_FOUND, f"there is no machine {machine_id!r}")
        return machine


@mutant("LST-3", "LST-3a")
class EverythingTwice(Core):
    """Lists each machine twice, so that a run finds none that it may drive."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        return replace(listing, machines=[*listing.machines, *listing.machines])


@mutant("LIF-4", "LIF-4a", also=("LIF-11a",), because="the ack shows the new id")
class RenamesInCreate(Core):
    """Gives a machine another id in Create, so that nothing finds it under its own."""

    def find(self, machine_id: str) -> Machine:
        machine = super().find(machine_id.removeprefix("i-"))
        if (machine.state is not State.SPECULATIVE) is not machine_id.startswith("i-"):
            raise Rejected(Code.NOT_FOUND, f"there is no machine {machine_id!r}")
        return machine

    def shown(self, machine: Machine) -> Machine:
        return machine if machine.state is State.SPECULATIVE else replace(machine, id=f"i-{machine.id}")

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return self.shown(machine)

    def shown_in_get(self, machine: Machine) -> Machine:
        return self.shown(machine)

    def shown_in_list(self, machine: Machine) -> Machine:
        return self.shown(machine)


@mutant("SHP-1", "SHP-1a")
class NoStates(Core):
    """Shows no machine's state."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, state=0)  # type: ignore[arg-type]
