"""Providers whose defect shows only under load or after a while, and which the scale lane must find.

They are not among `MUTANTS`, whose behaviours run on a few machines and end long before these defects show.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from inspect import cleandoc
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import Machine, State, Verb
from fake_provider.request import Configure, Filter, Listing, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.fence import Token
    from fake_provider.store import MarkKey

MAX_OPERATIONS = 8_000
C = TypeVar("C", bound=type[Core])


@dataclass(frozen=True, slots=True, kw_only=True)
class Churned:
    """A defect, and the clause for which the scale lane must find it."""

    name: str
    story: str
    clause: str
    core: type[Core]
    fleet: int
    """The number of machines of the provider."""
    at_once: int | None
    """The value of `--max-machines`."""
    latency: str
    operations: int
    """The number of transitions within which the defect must be found; a run stops at the first finding."""

    def provider(self) -> Core:
        """Returns a new provider with this defect."""
        return self.core(fleet(self.fleet), latency=Latency.parse(self.latency))


CHURNED: dict[str, Churned] = {}


def churned(
    clause: str,
    *,
    fleet: int = 64,
    at_once: int | None = None,
    latency: str = "0..10ms",
    operations: int = MAX_OPERATIONS,
) -> Callable[[C], C]:
    """Registers a subclass of Core as a provider that breaks `clause` under long or heavy load.

    `fleet` is the number of its machines, `at_once` the number of those that are driven, `latency` that of
    its transitions, and `operations` the number of transitions within which the defect must be found.
    """

    def register(cls: C) -> C:
        story = cleandoc(cls.__doc__ or "")
        CHURNED[cls.__name__] = Churned(
            name=cls.__name__,
            story=story,
            clause=clause,
            core=cls,
            fleet=fleet,
            at_once=at_once,
            latency=latency,
            operations=operations,
        )
        return cls

    return register


class _Counts(Core):
    """Counts its operations."""

    count = 0

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        self.count += 1
        return super().new_operation_id(verb, machine)


@churned("LIF-4")
class LosesARow(_Counts):
    """Loses a machine's row after every 500 transitions."""

    def advance(self, now: float) -> None:
        super().advance(now)
        if self.count >= 500:
            resting = [m for m in self.machines.values() if m.state is State.CONFIGURED]
            if resting:
                self.count = 0
                del self.inventory.machines[resting[0].id]


@churned("LIF-3")
class ReapsTheWrongMachine(_Counts):
    """Deletes the machine that has rested longest after every 400 transitions."""

    def advance(self, now: float) -> None:
        super().advance(now)
        resting = [m for m in self.machines.values() if m.state is State.CONFIGURED]
        if self.count >= 400 and resting:
            self.count = 0
            longest = min(resting, key=attrgetter("revision"))
            self.put(replace(self.cleared_by_delete(longest), state=State.SPECULATIVE, operation=None))
            self.commit()


@churned("OPS-2")
class ForgetsOperations(Core):
    """Remembers only the last 1,000 operations."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and int(known.rpartition("-")[2]) <= self.inventory.operations - 1000:
            return None
        return known


@churned("OPS-3", latency="200ms..300ms", operations=800)
class CreatesShareAnOperation(Core):
    """Gives a Create the operation_id of another one when four or more run."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        creating = [m for m in self.machines.values() if m.state is State.CREATING and m.operation]
        if verb is Verb.CREATE and len(creating) >= 4 and (last := creating[-1].operation):
            return last.id
        return super().new_operation_id(verb, machine)


@churned("OPS-3")
class CountsToAHundred(Core):
    """Uses only a hundred different operation ids."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        serial = super().new_operation_id(verb, machine)
        return f"op-{int(serial.rpartition('-')[2]) % 100:02}"


@churned("LST-6")
class LosesAChange(Core):
    """Omits one change in 300 from deltas."""

    changes = 0

    def put(self, machine: Machine) -> Machine:
        known = self.machines.get(machine.id)
        self.changes += known is not None
        if known is None or self.changes < 300 or machine.moving:
            return super().put(machine)
        self.changes = 0
        kept = replace(machine, revision=1)
        self.inventory.put(kept)
        return kept


@churned("FEN-12")
class ForgetsMarks(Core):
    """Keeps the marks of the last 60 shards only."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        super().raise_mark(verb, key, token)
        recent: deque[MarkKey] = self.__dict__.setdefault("recent", deque())
        if key in recent:
            recent.remove(key)
        recent.append(key)
        while len(recent) > 60:
            self.inventory.marks.pop(recent.popleft(), None)


@churned("MET-3")
class MixesMetadataUp(Core):
    """Stores the metadata of the previous Configure in one Configure out of 200."""

    bindings = 0

    def bound(self, machine: Machine, request: Configure) -> Machine:
        before, self.__dict__["before"] = self.__dict__.get("before"), request
        self.bindings += 1
        if self.bindings % 200 == 0 and before is not None:
            request = replace(request, metadata=before.metadata)
        return super().bound(machine, request)


@churned("LST-3", latency="20ms..40ms", operations=2_000)
class ListsWhileItMoves(_Counts):
    """Lists a machine twice while several machines are in transition."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        moving = [m for m in listing.machines if m.moving]
        if self.count < 300 or len(moving) < 4:
            return listing
        return Listing(machines=[*listing.machines, moving[0]], revision=listing.revision)
