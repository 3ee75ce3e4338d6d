"""Providers whose deltas contain unchanged machines or omit changed ones (contract §7, LST-6 to LST-9)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.machine import Machine, Verb
from fake_provider.servicer import Servicer
from selftest.mutant import mutant
from selftest.mutants.fencing_first import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.errors import Rejected
    from fake_provider.request import Filter, Listing, Request
    from fake_provider.servicer import Context


class _EndsUncounted(Core):
    """Not a mutant: the end of one verb's transition does not move the revision."""

    verb: Verb

    def complete(self, machine: Machine, operation_id: str) -> None:
        if not (machine.operation and machine.operation.verb is self.verb):
            super().complete(machine, operation_id)
        elif self.is_running(machine, operation_id):
            self.inventory.put(replace(self.settle(machine), revision=machine.revision))


@mutant("LST-6", "LST-6d", latency="120ms")
class TheHostIsNotCounted(_EndsUncounted):
    """Does not change the revision when a Create ends."""

    verb = Verb.CREATE


@mutant("LST-6", "LST-6h", latency="120ms")
class TheLossIsNotCounted(_EndsUncounted):
    """Does not change the revision when a Delete ends."""

    verb = Verb.DELETE


@mutant("LST-7", "LST-7a")
class ReadsAreChanges(Core):
    """Treats a machine as changed after each Get."""

    def get(self, machine_id: str, now: float) -> Machine:
        shown = super().get(machine_id, now)
        self.put(self.machines[machine_id])
        return shown


@mutant("LST-7", "LST-7a")
class RetriesAreChanges(Core):
    """Treats a machine as changed after each retry."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known:
            self.put(machine)
        return known


@mutant("LST-7", "LST-7a")
class FencedCallsAreChanges(Refusal):
    """Treats a machine as changed after each fenced call."""

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        self.put(self.machines[request.machine_id])


@mutant("LST-7", "LST-7a")
class RefusedCallsAreChanges(Core):
    """Treats a machine as changed after each refused call."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        self.put(machine)
        return super().no_edge(verb, machine)


@mutant("LST-7", "LST-7a")
class CursorsAreTheConnections(Servicer):
    """Answers a revision from another connection with the full list."""

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        given: set[bytes] = self.__dict__.setdefault("given", {}).setdefault(context.peer(), set())
        if request.since_revision not in given:
            request.ClearField("since_revision")
        answer = await super().List(request, context)
        given.add(answer.revision)
        return answer


@mutant("LST-9", "LST-9a")
class AFilteredPageSaysItWasAll(Core):
    """Returns the newest revision with a capped and filtered delta, so that the rest is lost."""

    filtered = False

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.filtered = bool(wanted.states)
        return super().list_machines(wanted, now)

    def cursor_after(self, found: Sequence[Machine], kept: Sequence[Machine]) -> bytes:
        return super().cursor_after(kept if self.filtered else found, kept)


@mutant("LST-8", "LST-8a")
class TheFilteredSeeNothing(Core):
    """Answers an invalid revision with an empty delta if there is a filter."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        lost = wanted.since and wanted.states and self.decode_cursor(wanted.since) is None
        return replace(listing, machines=[]) if lost else listing
