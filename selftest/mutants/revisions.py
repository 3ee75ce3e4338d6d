"""Providers whose deltas omit or repeat changes, or are empty (contract §7, LST-6 to LST-9)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, State
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fake_provider.request import Filter, Listing


class Uncounted(Core):
    """Not a mutant: changes into `uncounted` do not move the revision."""

    uncounted: tuple[State, ...] = ()

    def put(self, machine: Machine) -> Machine:
        if machine.state not in self.uncounted or machine.id not in self.machines:
            return super().put(machine)
        self.inventory.put(machine)
        return machine


class Historian(Core):
    """Not a mutant: remembers the state of each machine at each revision."""

    def put(self, machine: Machine) -> Machine:
        kept = super().put(machine)
        vars(self).setdefault("past", {}).setdefault(kept.id, []).append((kept.revision, kept.state))
        return kept

    def state_at(self, machine: Machine, revision: int) -> State | None:
        past: list[tuple[int, State]] = vars(self).get("past", {}).get(machine.id, [])
        return next((state for when, state in reversed(past) if when <= revision), None)


# LST-6: a delta contains all changes.


@mutant("LST-6", "LST-6a")
class RevisionIsTheSizeOfTheFleet(Core):
    """Uses the number of machines as the revision."""

    def since(self, cursor: bytes) -> int:
        return 0

    def encode_cursor(self, number: int) -> bytes:
        return str(len(self.machines)).encode()


@mutant("LST-6", "LST-6b")
class ConfigureIsNotCounted(Uncounted):
    """Does not change the revision at Configure."""

    uncounted = (State.CONFIGURING, State.CONFIGURED)


@mutant("LST-6", "LST-6b", "LST-6c", "LST-6f")
class DrainIsNotCounted(Uncounted):
    """Does not change the revision at Drain."""

    uncounted = (State.DRAINING, State.IDLE)

    def put(self, machine: Machine) -> Machine:
        if machine.state is State.IDLE and self.machines[machine.id].state is State.DRAINING:
            machine = replace(machine, revision=1)
        return super().put(machine)


@mutant("LST-6", "LST-6d")
class CreateIsNotCounted(Uncounted):
    """Does not change the revision at Create."""

    def put(self, machine: Machine) -> Machine:
        known = self.machines.get(machine.id)
        created = known is not None and (State.CREATING in (known.state, machine.state))
        self.uncounted = (machine.state,) if created else ()
        return super().put(machine)


@mutant("LST-6", "LST-6h")
class DeleteIsNotCounted(Uncounted):
    """Does not change the revision at Delete."""

    uncounted = (State.DELETING, State.SPECULATIVE)

    def cleared_by_delete(self, machine: Machine) -> Machine:
        return replace(super().cleared_by_delete(machine), revision=1)


@mutant("LST-6", "LST-6e")
class SettlingIsNotCounted(Uncounted):
    """Does not change the revision when a transition ends."""

    uncounted = (State.IDLE, State.CONFIGURED)


@mutant("LST-6", "LST-6c")
class BackIsNoChange(Historian):
    """Omits a machine from a delta if it is in the same state as before."""

    def changed(self, machine: Machine, since: int) -> bool:
        return super().changed(machine, since) and self.state_at(machine, since) is not machine.state


@mutant("LST-6", "LST-6h")
class FreeSlotsAreInNoDelta(Core):
    """Omits SPECULATIVE machines from deltas."""

    def changed(self, machine: Machine, since: int) -> bool:
        return super().changed(machine, since) and not (since and machine.state is State.SPECULATIVE)


@mutant("LST-6", "LST-6f", "LST-6c")
class AShortMemory(Core):
    """Answers with an empty delta if the revision is more than three changes old."""

    def changed(self, machine: Machine, since: int) -> bool:
        return super().changed(machine, since) and (not since or self.inventory.revision - since <= 3)


@mutant("LST-6", "LST-6f")
class OldCursorsAreGone(Core):
    """Answers with an error if the revision is more than six changes old."""

    def since(self, cursor: bytes) -> int:
        since = super().since(cursor)
        if since and self.inventory.revision - since > 6:
            raise Rejected(Code.ABORTED, "the revision is compacted")
        return since


@mutant("LST-6", "LST-6f", also=("LST-7c",), because="another behaviour may have used the same revision")
class CursorsAreUsedUp(Core):
    """Returns each change only once for the same revision."""

    def changed(self, machine: Machine, since: int) -> bool:
        told: dict[int, set[tuple[str, int]]] = vars(self).setdefault("told", {})
        key = (machine.id, machine.revision)
        if not since or not super().changed(machine, since) or key in told.setdefault(since, set()):
            return not since
        told[since].add(key)
        return True


@mutant("LST-6", "LST-6g")
class FilterOfTheOldState(Historian):
    """Applies the filter of a delta to the states at the given revision."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        vars(self)["asked"] = self.since(wanted.since)
        return super().list_machines(wanted, now)

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        since = vars(self)["asked"]
        if not since or not wanted.states:
            return super().matches(machine, wanted)
        return self.state_at(machine, since) in wanted.states


@mutant("LST-6", "LST-6g")
class FilterOrCursor(Core):
    """Refuses a List with both a filter and a revision."""

    def validate_filter(self, wanted: Filter) -> None:
        super().validate_filter(wanted)
        if wanted.states and wanted.since:
            raise Rejected(Code.INVALID_ARGUMENT, "states and since_revision exclude each other")


# LST-7: a delta contains nothing else.


@mutant("LST-7", "LST-7b", "LST-7a", "LST-7c")
class DeltasAreFull(Core):
    """Ignores since_revision, but returns revisions."""

    def since(self, cursor: bytes) -> int:
        return 0


@mutant("LST-7", "LST-7b")
class TheLastChangeAgain(Core):
    """Includes the last change again in every delta."""

    def changed(self, machine: Machine, since: int) -> bool:
        return machine.revision >= since


@mutant("LST-7", "LST-7b", "LST-7c")
class HeartbeatsAreChanges(Core):
    """Treats every machine with a host as changed at each List."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        for machine in list(self.machines.values()):
            if machine.host:
                self.put(machine)
        return super().list_machines(wanted, now)


@mutant("LST-7", "LST-7c")
class ADeltaReturnsTheOldCursor(Core):
    """Returns a delta with the revision of the request."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        return replace(listing, revision=wanted.since) if self.since(wanted.since) else listing


# LST-8: an unknown revision is answered with the full list.


@mutant("LST-8", "LST-8a")
class GarbageIsRefused(Core):
    """Refuses an invalid revision."""

    def since(self, cursor: bytes) -> int:
        if cursor and self.decode_cursor(cursor) is None:
            raise Rejected(Code.INVALID_ARGUMENT, "since_revision cannot be read")
        return super().since(cursor)


@mutant("LST-8", "LST-8a")
class GarbageCrashes(Core):
    """Crashes on a revision that is not text."""

    def decode_cursor(self, cursor: bytes) -> int | None:
        return super().decode_cursor(cursor.decode().encode())


@mutant("LST-8", "LST-8a", "LST-8b")
class TheLostSeeNothing(Core):
    """Answers an invalid revision with an empty delta."""

    def since(self, cursor: bytes) -> int:
        since = self.decode_cursor(cursor) if cursor else 0
        return self.inventory.revision if since is None else since


@mutant("LST-8", "LST-8b")
class TheFutureIsEmpty(Core):
    """Answers a future revision with an empty delta."""

    def since(self, cursor: bytes) -> int:
        return (self.decode_cursor(cursor) or 0) if cursor else 0


@mutant("LST-8", "LST-8b")
class TheFutureIsAnError(Core):
    """Answers a future revision with an error."""

    def since(self, cursor: bytes) -> int:
        if cursor and (self.decode_cursor(cursor) or 0) > self.inventory.revision:
            raise Rejected(Code.ABORTED, "since_revision is ahead of the provider")
        return super().since(cursor)


@mutant("LST-8", "LST-8b")
class EightBytesOfTheFuture(Core):
    """Answers a future revision of eight big-endian bytes with an empty delta."""

    def encode_cursor(self, number: int) -> bytes:
        return number.to_bytes(8, "big")

    def since(self, cursor: bytes) -> int:
        return int.from_bytes(cursor, "big") if len(cursor) == 8 and cursor < b"\x80" else 0


@mutant("LST-8", "LST-8b")
class EightLittleBytesOfTheFuture(Core):
    """Answers a future revision of eight little-endian bytes with an empty delta."""

    def encode_cursor(self, number: int) -> bytes:
        return number.to_bytes(8, "little")

    def since(self, cursor: bytes) -> int:
        number = int.from_bytes(cursor, "little") if len(cursor) == 8 else 0
        return number if number < 2**63 else 0


@mutant("LST-8", "LST-8c")
class ShortCursorsCrash(Core):
    """Crashes on a revision of fewer than eight bytes."""

    def decode_cursor(self, cursor: bytes) -> int | None:
        return super().decode_cursor(cursor) if cursor[7] else None


@mutant("LST-8", "LST-8c")
class LongNumbersCrash(Core):
    """Crashes on a revision whose digits exceed 64 bits."""

    def since(self, cursor: bytes) -> int:
        if cursor.isdigit():
            int(cursor).to_bytes(8, "big", signed=True)
        return super().since(cursor)


# LST-9: pages.


@mutant("LST-9", "LST-9a")
class APageSaysItWasAll(Core):
    """Returns the newest revision with a capped delta, so that the rest is lost."""

    def cursor_after(self, found: Sequence[Machine], kept: Sequence[Machine]) -> bytes:
        return self.encode_cursor(self.inventory.revision)


@mutant("LST-9", "LST-9a")
class PagesByName(Core):
    """Orders a capped delta by id, and returns the revision of its newest machine."""

    def oldest_first(self, since: int) -> Sequence[Machine]:
        return sorted(super().oldest_first(since), key=lambda machine: machine.id)

    def cursor_after(self, found: Sequence[Machine], kept: Sequence[Machine]) -> bytes:
        return self.encode_cursor(max((machine.revision for machine in kept), default=self.inventory.revision))


@mutant("LST-9", "LST-9a")
class ThePageAgain(Core):
    """Returns a capped delta with the revision of the request."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        return replace(listing, revision=wanted.since) if wanted.max_results and wanted.since else listing
