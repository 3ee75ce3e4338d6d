"""Providers with wrong filters or caps, or whose List and Get differ (contract §7, LST-1 to LST-4 and LST-10)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import InstanceType, Machine, State
from fake_provider.servicer import Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.request import Filter, Listing
    from fake_provider.servicer import Context

MOVING = (State.CREATING, State.CONFIGURING, State.DRAINING, State.DELETING)


class Before(Core):
    """Not a mutant: remembers each machine as it was before its last change."""

    def put(self, machine: Machine) -> Machine:
        if machine.id in self.machines:
            vars(self).setdefault("was", {})[machine.id] = self.machines[machine.id]
        return super().put(machine)

    def before(self, machine: Machine) -> Machine:
        was: Machine = vars(self).get("was", {}).get(machine.id, machine)
        return was


# Filters.


@mutant("LST-1", "LST-1c")
class OnlyTheFirstState(Servicer):
    """Filters by the first of several states only."""

    def filter(self, request: pb.ListFilter) -> Filter:
        return replace(super().filter(request), states=frozenset(request.states[:1]))


@mutant("LST-1", "LST-1c")
class OnlyTheLastState(Servicer):
    """Filters by the last of several states only."""

    def filter(self, request: pb.ListFilter) -> Filter:
        return replace(super().filter(request), states=frozenset(request.states[-1:]))


@mutant("LST-1", "LST-1c")
class AllOfTheStates(Core):
    """Returns only machines that are in all of the states of a filter at once."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return all(machine.state == state for state in wanted.states)


@mutant("LST-1", "LST-1a", "LST-1b")
class FiltersAreIgnored(Core):
    """Ignores the filter and returns all machines."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return True


@mutant("LST-1", "LST-1c")
class ManyStatesMeanAll(Core):
    """Ignores a filter of more than one state."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return len(wanted.states) > 1 or super().matches(machine, wanted)


@mutant(
    "LST-1",
    "LST-1c",
    also=("LST-2a", "LST-3a", "WIR-2a"),
    because="other behaviours' machines may be in a state between the two of a filter",
)
class StatesAreARange(Core):
    """Returns all states between the lowest and the highest of a filter."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return not wanted.states or min(wanted.states) <= machine.state <= max(wanted.states)


@mutant("LST-1", "LST-1d")
class NoStateMeansLive(Core):
    """Omits CONFIGURED machines from a List without a filter."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and (bool(wanted.states) or machine.state is not State.CONFIGURED)


@mutant("LST-1", "LST-1b")
class NoStateMeansWithAHost(Core):
    """Omits SPECULATIVE machines from every List without a filter except the first."""

    lists = 0

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.lists += 1
        return super().list_machines(wanted, now)

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        hidden = machine.state is State.SPECULATIVE and not wanted.states and self.lists > 1
        return super().matches(machine, wanted) and not hidden


@mutant("LST-1", "LST-1h", "LST-1i")
class NoStateMeansAtRest(Core):
    """Omits machines in transition from a List without a filter."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and (bool(wanted.states) or machine.state not in MOVING)


@mutant("LST-1", "LST-1e")
class NobodyIsOnTheWay(Core):
    """Omits machines in transition from every List."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and machine.state not in MOVING


@mutant("LST-1", "LST-1e")
class FoundUnderTheOldState(Before):
    """Finds a machine in transition under its source state."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(self.before(machine) if machine.state in MOVING else machine, wanted)


@mutant("LST-1", "LST-1e", whole=True)
class FoundUnderTheNextState(Core):
    """Finds a CONFIGURING machine under CONFIGURED."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        later = State.CONFIGURED if machine.state is State.CONFIGURING else machine.state
        return not wanted.states or later in wanted.states


@mutant("LST-1", "LST-1f")
class UnspecifiedIsAnyState(Core):
    """Treats UNSPECIFIED in a filter as no filter."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return State.UNSPECIFIED in wanted.states or super().matches(machine, wanted)


@mutant("LST-1", "LST-1a", also=("LST-2d",), because="the List of LST-2d names such a state")
class SomeStatesCannotBeAskedFor(Core):
    """Refuses a filter with a transitional state."""

    def validate_filter(self, wanted: Filter) -> None:
        if any(state in MOVING for state in wanted.states):
            raise Rejected(Code.INVALID_ARGUMENT, "states: not a stable state")


@mutant("LST-1", "LST-1g", "LST-1c")
class TwoStatesAtMost(Servicer):
    """Filters by the first two of several states only."""

    def filter(self, request: pb.ListFilter) -> Filter:
        return replace(super().filter(request), states=frozenset(list(request.states)[:2]))


# Caps.


@mutant("LST-2", "LST-2b", "LST-2a")
class CapBeforeFilter(Core):
    """Applies the cap before the filter."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(replace(wanted, states=frozenset()), now)
        return replace(listing, machines=[m for m in listing.machines if self.matches(m, wanted)])


@mutant("LST-2", "LST-2a")
class OneTooMany(Core):
    """Returns one machine more than the cap."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return machines[: limit + 1] if limit else machines


@mutant("LST-2", "LST-2a", "LST-2b")
class OneTooFew(Core):
    """Returns one machine fewer than the cap."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return machines[: max(1, limit - 1)] if limit else machines


@mutant("LST-2", "LST-2a", "LST-2b")
class CapIsIgnored(Core):
    """Ignores max_results."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return machines


@mutant("LST-2", "LST-2a")
class CapOverflows(Core):
    """Returns nothing for a cap of 2^31-1, because it adds one to the cap."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return [] if limit == 2**31 - 1 else super().cap(machines, limit)


@mutant("LST-2", "LST-2a")
class CapForEachState(Core):
    """Applies the cap to each state separately."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        states = {m.state for m in machines}
        return [
            m for s in states for m in super(CapForEachState, self).cap([x for x in machines if x.state is s], limit)
        ]


@mutant("LST-2", "LST-2a")
class AllOrNothing(Core):
    """Returns nothing if more machines match than the cap allows."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return [] if limit and len(machines) > limit else machines


@mutant("LST-2", "LST-2c", machines=48)
class APageOfTwenty(Core):
    """Returns at most twenty machines without a cap."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return super().cap(machines, limit or 20)


@mutant("LST-2", "LST-2c")
class APageOfOneState(Core):
    """Returns at most half of the fleet without a cap, SPECULATIVE machines first."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        half = len(self.machines) // 2
        return super().cap(machines, limit) if limit else sorted(machines, key=lambda m: m.state)[:half]


@mutant("LST-2", "LST-2d")
class NegativeCutsTheEnd(Core):
    """Omits the last machines for a negative cap."""

    def validate_filter(self, wanted: Filter) -> None:
        pass


@mutant("LST-2", "LST-2d")
class NegativeIsNothing(Core):
    """Returns nothing for a negative cap."""

    def validate_filter(self, wanted: Filter) -> None:
        pass

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return [] if limit < 0 else super().cap(machines, limit)


@mutant("LST-2", "LST-2d")
class NegativeCrashes(Core):
    """Answers INTERNAL for a negative cap."""

    def validate_filter(self, wanted: Filter) -> None:
        if wanted.max_results < 0:
            raise Rejected(Code.INTERNAL, "LIMIT must not be negative")


# No machine twice.


@mutant("LST-3", "LST-3a", also=("LST-2a",), because="its List is longer than the fleet")
class TwiceOnItsWay(Core):
    """Lists machines in transition twice."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        return replace(listing, machines=[*listing.machines, *(m for m in listing.machines if m.state in MOVING)])


@mutant("LST-3", "LST-3a")
class TwiceForAStateTwice(Servicer):
    """Lists a machine once more for each state that the filter repeats."""

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        answer = await super().List(request, context)
        for _ in range(len(request.states) - len(set(request.states))):
            answer.machines.extend(answer.machines[:1])
        return answer


# List and Get.


@mutant("LST-4", "LST-4a", "LST-4b", "LST-4d")
class ListLeavesResourcesOut(Core):
    """Omits resources from List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, instance_type=InstanceType(name=machine.instance_type.name))


@mutant("LST-4", "LST-4a", "LST-4b", "LST-4d")
class GetHasAnotherZone(Core):
    """Shows another zone in Get than in List."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, zone=f"use1-{machine.zone[-1:]}")


@mutant("LST-4", "LST-4a")
class ListNeverSeesBindings(Before):
    """Shows CONFIGURED machines as CONFIGURING in List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, state=State.CONFIGURING) if machine.state is State.CONFIGURED else machine


@mutant("LST-4", "LST-4c", also=("LIF-6d",), because="a List of the fleet shows it as well")
class ListRemembersTheCluster(Before):
    """Shows the old cluster in List after a Drain."""

    def shown_in_list(self, machine: Machine) -> Machine:
        drained = machine.state is State.IDLE and self.before(machine).state is State.DRAINING
        return replace(machine, cluster=self.before(machine).cluster) if drained else machine


@mutant("LST-4", "LST-4a", "LST-4c", "LST-4d")
class ListLeavesAllocatableOut(Core):
    """Omits allocatable from List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, instance_type=replace(machine.instance_type, allocatable={}))


class DeltaDiffers(Core):
    """Not a mutant: shows machines differently in a delta than in a full List."""

    delta = False

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.delta = self.since(wanted.since) > 0
        return super().list_machines(wanted, now)

    def shown_in_list(self, machine: Machine) -> Machine:
        return self.shown_in_delta(machine) if self.delta else machine

    def shown_in_delta(self, machine: Machine) -> Machine:
        raise NotImplementedError


@mutant("LST-4", "LST-4a", "LST-4c")
class DeltaLeavesAllocatableOut(DeltaDiffers):
    """Omits allocatable from a delta."""

    def shown_in_delta(self, machine: Machine) -> Machine:
        return replace(machine, instance_type=replace(machine.instance_type, allocatable={}))


@mutant("LST-4", "LST-4a", "LST-4c", also=("SHP-4b",), because="a machine that has not failed shows a last_error")
class DeltaShowsAnError(DeltaDiffers):
    """Shows a last_error in a delta only."""

    def shown_in_delta(self, machine: Machine) -> Machine:
        return replace(machine, last_error="changed")


@mutant("LST-4", "LST-4b", "LST-4d")
class SlotsAreListedWithoutInstanceType(Core):
    """Omits allocatable of SPECULATIVE machines from List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        without = replace(machine, instance_type=replace(machine.instance_type, allocatable={}))
        return without if machine.state is State.SPECULATIVE else machine


@mutant("LST-10", "LST-10b")
class ListShowsWhatHasSettled(Before):
    """Shows machines in transition in their source state in List."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(self.shown_in_list(machine), wanted)

    def shown_in_list(self, machine: Machine) -> Machine:
        return self.before(machine) if machine.state in MOVING else machine


@mutant("LST-10", "LST-10a")
class ListIsCached(Servicer):
    """Answers List from a copy that is up to half a second old."""

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        kept: dict[bytes, tuple[float, pb.MachineList]] = vars(self).setdefault("kept", {})
        key = request.SerializeToString()
        if key not in kept or self.clock() - kept[key][0] > 0.5:
            kept[key] = (self.clock(), await super().List(request, context))
        return kept[key][1]
