"""Providers whose List depends on how it is called (contract §7, LST-1, LST-4 and LST-10)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.machine import InstanceType, Machine, State
from fake_provider.servicer import Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.request import Filter, Listing
    from fake_provider.servicer import Context


class _SomeListsAreThin(Core):
    """Not a mutant: omits something from certain Lists."""

    def thinned(self, wanted: Filter) -> bool:
        raise NotImplementedError

    def thin(self, machine: Machine) -> Machine:
        return replace(machine, shard_metadata={})

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        if not self.thinned(wanted):
            return listing
        return replace(listing, machines=[self.thin(machine) for machine in listing.machines])


@mutant("LST-4", "LST-4a")
class TheWholeFleetIsThin(_SomeListsAreThin):
    """Omits metadata from a List without a filter."""

    def thinned(self, wanted: Filter) -> bool:
        return not wanted.states


@mutant("LST-4", "LST-4a")
class PagesAreThin(_SomeListsAreThin):
    """Omits resources from a List with a cap."""

    def thinned(self, wanted: Filter) -> bool:
        return wanted.max_results > 0

    def thin(self, machine: Machine) -> Machine:
        return replace(machine, instance_type=InstanceType(name=machine.instance_type.name))


@mutant("LST-4", "LST-4a")
class DeltasAreThin(_SomeListsAreThin):
    """Omits metadata from deltas."""

    def thinned(self, wanted: Filter) -> bool:
        return self.since(wanted.since) > 0


@mutant("LST-4", "LST-4d")
class RetiredMachinesAreListed(Core):
    """Lists machines that Get does not find."""

    def oldest_first(self, since: int) -> Sequence[Machine]:
        known = super().oldest_first(since)
        if since:
            return known
        even = (machine for machine in known if machine.id[-1:] in "02468")
        return [*known, *(self.retired(machine) for machine in even)]

    def retired(self, machine: Machine) -> Machine:
        gone = replace(machine, id=f"retired-{machine.id}", state=State.FAILED, last_error="retired", revision=1)
        return replace(gone, host=None, cluster="", shard_metadata={})


@mutant("LST-1", "LST-1h", latency="120ms")
class WhatComesIsNotListed(Core):
    """Omits CREATING machines from List."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and machine.state is not State.CREATING


@mutant("LST-1", "LST-1i", latency="120ms")
class WhatGoesIsNotListed(Core):
    """Omits DELETING machines from List."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and machine.state is not State.DELETING


@mutant("LST-10", "LST-10a", "LST-10b")
class TheWholeListIsCached(Servicer):
    """Answers a List without filter and cap from a copy that is up to half a second old."""

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        if request.ByteSize():
            return await super().List(request, context)
        at, kept = self.__dict__.get("kept", (0.0, None))
        if kept is None or self.clock() - at > 0.5:
            at, kept = self.__dict__["kept"] = self.clock(), await super().List(request, context)
        answer: pb.MachineList = kept
        return answer
