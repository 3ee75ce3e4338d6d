"""Providers whose deltas are wrong in combination with something else (contract §7): a filter, a cap, a connection."""

from __future__ import annotations

import re
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


class _Asked(Core):
    """Not a mutant: knows the List that it answers."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.__dict__["wanted"] = wanted
        return super().list_machines(wanted, now)

    @property
    def wanted(self) -> Filter:
        wanted: Filter = self.__dict__["wanted"]
        return wanted


# Deltas that omit changes.


@mutant("LST-6", "LST-6a")
class TheNewestChangeIsMissing(Core):
    """Omits the newest change of the fleet from each delta, because the end of its range is open."""

    def changed(self, machine: Machine, since: int) -> bool:
        return super().changed(machine, since) and not (since and machine.revision == self.inventory.revision)


@mutant("LST-6", "LST-6h")
class FilteredDeltasOmitSlots(_Asked):
    """Omits SPECULATIVE machines from deltas with a filter, because those come from its table of hosts."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        omitted = wanted.states and self.since(wanted.since) and machine.state is State.SPECULATIVE
        return super().matches(machine, wanted) and not omitted


@mutant("LST-6", "LST-6b")
class ACursorKeepsItsFilter(_Asked):
    """Applies the filter of a List to all deltas since it, because the filter is a part of the cursor."""

    def encode_cursor(self, number: int) -> bytes:
        states = ",".join(str(int(state)) for state in sorted(self.wanted.states))
        return super().encode_cursor(number) + (f"/{states}".encode() if states else b"")

    def decode_cursor(self, cursor: bytes) -> int | None:
        return super().decode_cursor(cursor.partition(b"/")[0])

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        kept = [int(state) for state in re.findall(rb"\d+", wanted.since.partition(b"/")[2])]
        return super().matches(machine, wanted) and (not kept or machine.state in kept)


@mutant("LST-6", "LST-6b")
class TheCursorOfAPageIsASnapshot(Core):
    """Continues the snapshot of a capped List, so that a delta since that List omits what has changed after it."""

    def cursor_after(self, found: Sequence[Machine], page: Sequence[Machine]) -> bytes:
        cursor = super().cursor_after(found, page)
        if len(page) < len(found):
            self.__dict__.setdefault("ends", {})[cursor] = self.inventory.revision
        return cursor

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        end = self.__dict__.get("ends", {}).get(wanted.since)
        if end is None:
            return listing
        return replace(listing, machines=[machine for machine in listing.machines if machine.revision <= end])


@mutant("LST-6", "LST-6b")
class OtherConnectionsSeeNothing(Servicer):
    """Answers a revision from another connection with an empty delta."""

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        given: dict[bytes, set[str]] = self.__dict__.setdefault("given", {})
        answer = await super().List(request, context)
        given.setdefault(answer.revision, set()).add(context.peer())
        if request.since_revision in given and context.peer() not in given[request.since_revision]:
            del answer.machines[:]
        return answer


@mutant("LST-6", "LST-6g")
class FilteredDeltasUseTheLastState(_Asked):
    """Filters a delta by the last of several states only."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        if self.since(wanted.since) and State.IDLE in wanted.states:
            return machine.state is State.IDLE
        return super().matches(machine, wanted)


@mutant("LST-6", "LST-6b")
class DeltasAreCachedByCursor(Core):
    """Answers the same request for a delta from a cache, although more has changed."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        cache: dict[Filter, Listing] = self.__dict__.setdefault("cache", {})
        if not self.since(wanted.since):
            return super().list_machines(wanted, now)
        if wanted not in cache:
            cache[wanted] = super().list_machines(wanted, now)
        return cache[wanted]


class _Ticks(Core):
    """Not a mutant: the revision is the time in ticks, and several changes can have the same one."""

    tick: float
    at = 0.0

    def advance(self, now: float) -> None:
        self.at = now
        super().advance(now)

    def put(self, machine: Machine) -> Machine:
        self.inventory.revision = max(self.inventory.revision, 1 + int(self.at / self.tick))
        machine = replace(machine, revision=self.inventory.revision)
        self.inventory.put(machine)
        return machine

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.advance(now)
        self.inventory.revision = max(self.inventory.revision, 1 + int(now / self.tick))
        return super().list_machines(wanted, now)


@mutant("LST-6", "LST-6b")
class ATickIsASecond(_Ticks):
    """Uses the time in seconds as the revision, and omits a change in the second of the last List."""

    tick = 1.0


@mutant("LST-6", "LST-6e")
class ATickIsTwentyFiveMilliseconds(_Ticks):
    """Uses the time in fortieths of a second as the revision, and omits a change in the tick of the last List."""

    tick = 0.025


@mutant("LST-6", "LST-6a", whole=True)
class ALogOfAHundredChanges(Core):
    """Keeps the last hundred changes, and answers an older revision with only these."""

    def changed(self, machine: Machine, since: int) -> bool:
        return super().changed(machine, max(since, self.inventory.revision - 100) if since else 0)


@mutant("LST-6", "LST-6a", whole=True)
class OldCursorsAreQuiet(Core):
    """Answers a revision that is more than 250 changes old with an empty delta."""

    def changed(self, machine: Machine, since: int) -> bool:
        return super().changed(machine, since) and (not since or self.inventory.revision - since <= 250)


@mutant("LST-6", "LST-6a")
class TheFirstRevisionIsNone(Core):
    """Takes the revision of its start for none, and answers it with an empty delta."""

    def changed(self, machine: Machine, since: int) -> bool:
        return super().changed(machine, since) and since != 24


# Deltas with too much, or in another form.


@mutant("LST-7", "LST-7a")
class FilteredDeltasAreFull(Core):
    """Ignores the revision if there is a filter."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        return super().list_machines(replace(wanted, since=b"") if wanted.states else wanted, now)


@mutant("LST-3", "LST-3a", also=("LST-2a",), because="the delta is longer than the cap", whole=True)
class DeltasAreALog(Core):
    """Lists a machine in a delta once for each of its changes."""

    def put(self, machine: Machine) -> Machine:
        kept = super().put(machine)
        self.__dict__.setdefault("log", {}).setdefault(kept.id, []).append(kept.revision)
        return kept

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        since, listing = self.since(wanted.since), super().list_machines(wanted, now)
        if not since:
            return listing
        log: dict[str, list[int]] = self.__dict__["log"]
        return replace(
            listing,
            machines=[machine for machine in listing.machines for revision in log[machine.id] if revision > since],
        )


@mutant("LST-2", "LST-2a", whole=True)
class DeltasIgnoreTheCap(Core):
    """Ignores max_results if there is a revision."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        since = self.since(wanted.since)
        return super().list_machines(replace(wanted, max_results=0) if since else wanted, now)


@mutant("LST-9", "LST-9a")
class TheCapComesBeforeTheRevision(Core):
    """Applies the cap to the whole fleet, and only then drops what has not changed."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        since = self.since(wanted.since)
        if not (since and wanted.max_results):
            return super().list_machines(wanted, now)
        whole = super().list_machines(replace(wanted, since=b""), now)
        return replace(whole, machines=[machine for machine in whole.machines if machine.revision > since])


class _SomeListsAreThin(_Asked):
    """Not a mutant: some Lists show no allocatable."""

    def thin(self, wanted: Filter) -> bool:
        raise NotImplementedError

    def shown_in_list(self, machine: Machine) -> Machine:
        if not self.thin(self.wanted):
            return machine
        return replace(machine, instance_type=replace(machine.instance_type, allocatable={}))


@mutant("LST-4", "LST-4a", whole=True)
class FilteredDeltasAreThin(_SomeListsAreThin):
    """Omits allocatable from deltas with a filter."""

    def thin(self, wanted: Filter) -> bool:
        return bool(wanted.states and self.since(wanted.since))


@mutant("LST-4", "LST-4a", whole=True)
class CappedDeltasAreThin(_SomeListsAreThin):
    """Omits allocatable from deltas with a cap."""

    def thin(self, wanted: Filter) -> bool:
        return bool(wanted.max_results and self.since(wanted.since))


@mutant("LST-4", "LST-4a", whole=True)
class UnionsAreThin(_SomeListsAreThin):
    """Omits allocatable from a List of several states."""

    def thin(self, wanted: Filter) -> bool:
        return len(wanted.states) == 2


# LST-8: cursors from the future.


class _Future(Core):
    """Not a mutant: some revisions from the future are answered with an empty delta."""

    def since(self, cursor: bytes) -> int:
        since = self.decode_cursor(cursor) if cursor else None
        if since is not None and self.is_believed(since - self.inventory.revision):
            return since
        return super().since(cursor)

    def is_believed(self, ahead: int) -> bool:
        return ahead > 0


@mutant("LST-8", "LST-8b")
class TheNextRevisionIsNow(_Future):
    """Answers the next revision with an empty delta, because the check for the future is off by one."""

    def is_believed(self, ahead: int) -> bool:
        return ahead == 1


@mutant("LST-8", "LST-8b")
class TheNearFutureIsTolerated(_Future):
    """Answers a revision that is up to 1,000 changes ahead with an empty delta, as if a replica were late."""

    def is_believed(self, ahead: int) -> bool:
        return 1 < ahead < 1000


class _InText(_Future):
    """Not a mutant: the revision is a number in a text."""

    text = "r{}"

    def encode_cursor(self, number: int) -> bytes:
        return self.text.format(number).encode()

    def decode_cursor(self, cursor: bytes) -> int | None:
        before, _, after = re.sub(r"{.*}", "\0", self.text).partition("\0")
        match = re.fullmatch(re.escape(before) + r"(\d+)" + re.escape(after), cursor.decode("latin-1"))
        return int(match[1]) if match else None


@mutant("LST-8", "LST-8b")
class TheFutureInText(_InText):
    """Answers a future revision, a letter and a number, with an empty delta."""


@mutant("LST-8", "LST-8b")
class TheFutureInAVersionedText(_InText):
    """Answers a future revision, a number after a version, with an empty delta."""

    text = "v1:{}"


@mutant("LST-8", "LST-8b")
class TheFutureInPaddedDigits(_InText):
    """Answers a future revision, a number with leading zeros, with an empty delta."""

    text = "rev-{:012}"


@mutant("LST-8", "LST-8b")
class TheFutureInJson(_InText):
    """Answers a future revision, a number in JSON, with an error."""

    text = '{{"rev": {}, "shard": 7}}'

    def decode_cursor(self, cursor: bytes) -> int | None:
        match = re.fullmatch(r'{"rev": (\d+), "shard": 7}', cursor.decode("latin-1"))
        return int(match[1]) if match else None

    def since(self, cursor: bytes) -> int:
        if cursor and (self.decode_cursor(cursor) or 0) > self.inventory.revision:
            raise Rejected(Code.ABORTED, "since_revision is ahead of the provider")
        return Core.since(self, cursor)


@mutant("LST-8", "LST-8b")
class TheNextRevisionInText(_InText):
    """Answers the next revision, a letter and a number, with an empty delta."""

    def is_believed(self, ahead: int) -> bool:
        return ahead == 1


@mutant("LST-8", "LST-8b")
class FourBytesOfTheFuture(_Future):
    """Answers a future revision of four bytes with an empty delta."""

    def encode_cursor(self, number: int) -> bytes:
        return number.to_bytes(4, "big")

    def decode_cursor(self, cursor: bytes) -> int | None:
        number = int.from_bytes(cursor, "big")
        return number if len(cursor) == 4 and number < 2**31 else None


@mutant("LST-8", "LST-8b")
class SixteenBytesOfTheFuture(_Future):
    """Answers a future revision of sixteen bytes, an epoch and a count, with an empty delta."""

    def encode_cursor(self, number: int) -> bytes:
        return self.inventory.origin.to_bytes(8, "big") + number.to_bytes(8, "big")

    def decode_cursor(self, cursor: bytes) -> int | None:
        own = cursor[:8] == self.inventory.origin.to_bytes(8, "big")
        return int.from_bytes(cursor[8:], "big") if len(cursor) == 16 and own else None


@mutant("LST-8", "LST-8b")
class TheFilteredFutureIsEmpty(Core):
    """Answers a future revision with an empty delta if there is a filter."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        ahead = (self.decode_cursor(wanted.since) or 0) > self.inventory.revision
        return replace(listing, machines=[]) if ahead and wanted.states else listing


@mutant("LST-8", "LST-8a")
class CappedGarbageIsEmpty(Core):
    """Answers an invalid revision with an empty page if there is a cap."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        lost = wanted.since and self.decode_cursor(wanted.since) is None
        return replace(listing, machines=[]) if lost and wanted.max_results else listing
