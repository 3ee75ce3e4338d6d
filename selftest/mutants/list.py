"""LST broken: filters, caps, and a List that knows otherwise than Get."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, State
from fake_provider.servicer import Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.request import Filter, Listing
    from fake_provider.servicer import Context

MOVING = (State.CREATING, State.CONFIGURING, State.DRAINING, State.DELETING)


class Before(Core):
    """Not a mutant: knows what each machine was before its last change."""

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
    """One state is read out of the filter: the first."""

    def filter(self, request: pb.ListFilter) -> Filter:
        return replace(super().filter(request), states=frozenset(request.states[:1]))


@mutant("LST-1", "LST-1c")
class OnlyTheLastState(Servicer):
    """A loop over the states that assigns."""

    def filter(self, request: pb.ListFilter) -> Filter:
        return replace(super().filter(request), states=frozenset(request.states[-1:]))


@mutant("LST-1", "LST-1c")
class AllOfTheStates(Core):
    """Filters are joined with AND."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return all(machine.state == state for state in wanted.states)


@mutant("LST-1", "LST-1a", "LST-1b")
class FiltersAreIgnored(Core):
    """List returns everything, whatever is asked for."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return True


@mutant("LST-1", "LST-1c")
class ManyStatesMeanAll(Core):
    """More than one state falls back to a scan without a filter."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return len(wanted.states) > 1 or super().matches(machine, wanted)


@mutant(
    "LST-1",
    "LST-1c",
    also=("LST-2a", "LST-3a", "WIR-2a"),
    because="between the two states of a filter lies what may be on its way just then",
)
class StatesAreARange(Core):
    """WHERE state BETWEEN the least and the greatest."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return not wanted.states or min(wanted.states) <= machine.state <= max(wanted.states)


@mutant("LST-1", "LST-1d")
class NoStateMeansLive(Core):
    """Without a filter only machines that are free for use are listed."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and (bool(wanted.states) or machine.state is not State.CONFIGURED)


@mutant("LST-1", "LST-1b")
class NoStateMeansWithAHost(Core):
    """Without a filter slots are left out, from the second time on: there are so many."""

    lists = 0

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.lists += 1
        return super().list_machines(wanted, now)

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        hidden = machine.state is State.SPECULATIVE and not wanted.states and self.lists > 1
        return super().matches(machine, wanted) and not hidden


@mutant("LST-1", "LST-1e")
class NoStateMeansAtRest(Core):
    """Without a filter machines on their way are left out."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and (bool(wanted.states) or machine.state not in MOVING)


@mutant("LST-1", "LST-1e")
class NobodyIsOnTheWay(Core):
    """Machines on their way are locked, and List skips locked rows."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and machine.state not in MOVING


@mutant("LST-1", "LST-1e")
class FoundUnderTheOldState(Before):
    """The index by state is written when a transition ends: List finds a machine where it was."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(self.before(machine) if machine.state in MOVING else machine, wanted)


@mutant("LST-1", "LST-1e")
class FoundUnderTheNextState(Core):
    """Filters are in terms of where a machine will be: CONFIGURING is found under CONFIGURED."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        later = State.CONFIGURED if machine.state is State.CONFIGURING else machine.state
        return not wanted.states or later in wanted.states


@mutant("LST-1", "LST-1f")
class UnspecifiedIsAnyState(Core):
    """The enum's zero in a filter means no filter."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return State.UNSPECIFIED in wanted.states or super().matches(machine, wanted)


@mutant("LST-1", "LST-1a")
class SomeStatesCannotBeAskedFor(Core):
    """Filters are offered for stable states only."""

    def validate_filter(self, wanted: Filter) -> None:
        if any(state in MOVING for state in wanted.states):
            raise Rejected(Code.INVALID_ARGUMENT, "states: not a stable state")


@mutant("LST-1", "LST-1g", "LST-1c")
class TwoStatesAtMost(Servicer):
    """The statement has two placeholders."""

    def filter(self, request: pb.ListFilter) -> Filter:
        return replace(super().filter(request), states=frozenset(list(request.states)[:2]))


# Caps.


@mutant("LST-2", "LST-2b", "LST-2a")
class CapBeforeFilter(Core):
    """LIMIT in the inner query, WHERE in the outer one."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(replace(wanted, states=frozenset()), now)
        return replace(listing, machines=[m for m in listing.machines if self.matches(m, wanted)])


@mutant("LST-2", "LST-2a")
class OneTooMany(Core):
    """A cap that is off by one, upwards: the machine that tells whether there are more."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return machines[: limit + 1] if limit else machines


@mutant("LST-2", "LST-2a", "LST-2b")
class OneTooFew(Core):
    """A cap that is off by one, downwards."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return machines[: max(1, limit - 1)] if limit else machines


@mutant("LST-2", "LST-2a", "LST-2b")
class CapIsIgnored(Core):
    """max_results is not implemented."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return machines


@mutant("LST-2", "LST-2a")
class CapOverflows(Core):
    """One more than asked for is read, and 2^31-1 and one is negative."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return [] if limit == 2**31 - 1 else super().cap(machines, limit)


@mutant("LST-2", "LST-2a")
class CapForEachState(Core):
    """The cap is applied to each state's query."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        states = {m.state for m in machines}
        return [
            m for s in states for m in super(CapForEachState, self).cap([x for x in machines if x.state is s], limit)
        ]


@mutant("LST-2", "LST-2a")
class AllOrNothing(Core):
    """What does not fit under the cap is not returned at all."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return [] if limit and len(machines) > limit else machines


@mutant("LST-2", "LST-2c", machines=48)
class APageOfTwenty(Core):
    """Whoever names no cap gets a page of twenty."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return super().cap(machines, limit or 20)


@mutant("LST-2", "LST-2c")
class APageOfOneState(Core):
    """Whoever names no cap gets a page of half the fleet, slots first."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        half = len(self.machines) // 2
        return super().cap(machines, limit) if limit else sorted(machines, key=lambda m: m.state)[:half]


@mutant("LST-2", "LST-2d")
class NegativeCutsTheEnd(Core):
    """A slice up to a negative number leaves the last ones out."""

    def validate_filter(self, wanted: Filter) -> None:
        pass


@mutant("LST-2", "LST-2d")
class NegativeIsNothing(Core):
    """A negative cap holds nothing."""

    def validate_filter(self, wanted: Filter) -> None:
        pass

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return [] if limit < 0 else super().cap(machines, limit)


@mutant("LST-2", "LST-2d")
class NegativeCrashes(Core):
    """A negative cap reaches the database, which complains."""

    def validate_filter(self, wanted: Filter) -> None:
        if wanted.max_results < 0:
            raise Rejected(Code.INTERNAL, "LIMIT must not be negative")


# A set.


@mutant("LST-3", "LST-3a", also=("LST-2a",), because="it lists more than there are")
class TwiceOnItsWay(Core):
    """A machine on its way is in the table of machines and in the table of operations."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        return replace(listing, machines=[*listing.machines, *(m for m in listing.machines if m.state in MOVING)])


@mutant("LST-3", "LST-3a")
class TwiceForAStateTwice(Servicer):
    """Each state of the filter is a query, also one that is named again."""

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        answer = await super().List(request, context)
        for _ in range(len(request.states) - len(set(request.states))):
            answer.machines.extend(answer.machines[:1])
        return answer


# List and Get.


@mutant("LST-4", "LST-4a", "LST-4b", "LST-4d")
class ListLeavesResourcesOut(Core):
    """List shows no resources, to be small."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, resources={}, allocatable={})


@mutant("LST-4", "LST-4a", "LST-4b", "LST-4d")
class GetHasAnotherZone(Core):
    """Get shows the zone's id, List its name."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, zone=f"use1-{machine.zone[-1:]}")


@mutant("LST-4", "LST-4a")
class ListNeverSeesBindings(Before):
    """List's cache is not told of a Configure that has ended."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, state=State.CONFIGURING) if machine.state is State.CONFIGURED else machine


@mutant("LST-4", "LST-4c", also=("LIF-6d",), because="a listing of the fleet shows it as well")
class ListRemembersTheCluster(Before):
    """List's row keeps the cluster after Drain."""

    def shown_in_list(self, machine: Machine) -> Machine:
        drained = machine.state is State.IDLE and self.before(machine).state is State.DRAINING
        return replace(machine, cluster=self.before(machine).cluster) if drained else machine


@mutant("LST-4", "LST-4b", "LST-4d")
class SlotsAreListedWithoutInstanceType(Core):
    """What a slot would be is looked up by Get only."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, allocatable={}) if machine.state is State.SPECULATIVE else machine


@mutant("LST-10", "LST-10b")
class ListShowsWhatHasSettled(Before):
    """List is served from the last consistent state: a machine on its way is shown where it was."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(self.shown_in_list(machine), wanted)

    def shown_in_list(self, machine: Machine) -> Machine:
        return self.before(machine) if machine.state in MOVING else machine


@mutant("LST-10", "LST-10a")
class ListIsCached(Servicer):
    """List is answered from a copy that is made anew twice a second."""

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        kept: dict[bytes, tuple[float, pb.MachineList]] = vars(self).setdefault("kept", {})
        key = request.SerializeToString()
        if key not in kept or self.clock() - kept[key][0] > 0.5:
            kept[key] = (self.clock(), await super().List(request, context))
        return kept[key][1]
