"""Compares Lists and deltas, from which a shard learns about a fleet, with the oracle."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NoAnswer, Violation
from conformance.core.lifecycle import State
from conformance.lanes.scale.figures import Fleet
from conformance.lanes.scale.oracle import differences
from conformance.lanes.scale.timings import RecentCalls
from conformance.rpc.call import recording

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.lanes.scale.oracle import Difference, Expected, Oracle
    from conformance.lanes.scale.timings import Timings
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client

MAX_LAG_SECONDS: Final = 10.0
"""A List that differs from Get for longer than this is wrong, not late."""
LIVE_STATES: Final = tuple(state for state in State if state > State.SPECULATIVE)
MAX_PAGES: Final = 200
"""The maximum number of pages. A fleet that still changes after them cannot be paged through, and is not judged."""
MAX_STALE_PAGES: Final = 4
"""The number of pages in a row with the same revision after which paging does not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A machine that rests until the deltas show it correctly, or until a deadline. The result is the differences."""

    expected: Expected
    until: float
    result: asyncio.Future[list[Difference]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Follower:
    """Keeps a replica of our machines by deltas alone. Methods raise NoAnswer if List is not answered."""

    def __init__(self, client: Client, oracle: Oracle, timings: Timings, *, revisions: bool, lag: float) -> None:
        self._client, self._oracle, self._revisions = client, oracle, revisions
        self._lag = min(lag, MAX_LAG_SECONDS)
        self._recent, self._timings = RecentCalls(timings), timings
        self._replica: dict[str, pb.Machine] = {}
        self._cursor = b""
        self.fleet: Fleet | None = None
        self._following = asyncio.Lock()
        self._waiting: list[Waiting] = []
        self._last_delta: list[Call] = []

    async def begin(self) -> None:
        """Fills the replica from a whole List."""
        call = await self._whole()
        self._replica = {machine.id: machine for machine in call.response.machines if self._drives(machine)}
        self._cursor = call.response.revision

    def _drives(self, machine: pb.Machine) -> bool:
        return machine.id in self._oracle.machines

    async def check_list(self) -> None:
        """Checks a whole List while machines move."""
        await self._whole()

    async def follow_delta(self) -> None:
        """Checks a delta while machines move, and ends `wait_until_shown` for machines that it shows correctly."""
        try:
            await self._next_delta()
        except NoAnswer:
            for waiting in self._waiting:
                if self._client.now() >= waiting.until and not waiting.result.done():
                    waiting.result.set_result([])  # no delta came, so the machine is not judged
            raise
        now = self._client.now()
        for waiting in [each for each in self._waiting if not each.result.done()]:
            machine = self._replica.get(waiting.expected.id)
            found = [] if machine is None else list(differences(waiting.expected, machine))
            self._oracle.judged["LST-6"] += 1
            if not found or now >= waiting.until:
                waiting.result.set_result(found)

    async def wait_until_shown(self, expected: Expected) -> None:
        """Waits until the deltas show the machine, which rests meanwhile, correctly. Raises Violation if they do not.

        Another task must call `follow_delta` meanwhile.
        """
        if not self._revisions:
            return
        waiting = Waiting(expected=expected, until=self._client.now() + self._lag)
        self._waiting.append(waiting)
        try:
            found = await waiting.result
        finally:
            self._waiting.remove(waiting)
        if found:
            del self._replica[expected.id]  # otherwise the next comparison would find the same
            self._report("LST-6", "the sequence of deltas", found, self._last_delta)

    async def compare(self) -> None:
        """Checks that List and replica agree with the oracle within the lag, while all machines are at rest."""
        with suppress(Violation):
            await self._check_agrees("LST-4", "List", self._read_list)
        if not self._revisions:
            return
        try:
            await self._check_agrees("LST-6", "the sequence of deltas", self._read_replica)
        except Violation:
            await self.begin()  # otherwise every later comparison would find the same

    async def _check_agrees(
        self, clause: str, source: str, read: Callable[[], Awaitable[tuple[Collection[pb.Machine], Call]]]
    ) -> None:
        clock = self._client.now
        until, pause = clock() + self._lag, 0.01
        while True:
            shown, call = await read()
            found = self._oracle.compare(clause, shown)
            if not found or clock() >= until:
                break
            await asyncio.sleep(pause)
            pause *= 2
        if found:
            self._report(clause, source, found, [call])

    def _report(self, clause: str, source: str, found: list[Difference], calls: list[Call]) -> None:
        first, more = found[0], f" ({len(found)} differences in total)" if len(found) > 1 else ""
        wanted = f"{source} to show {first.wanted.replace(' to ', ' ', 1)}"
        self._oracle.fact(False, clause, wanted=f"{wanted}, as Get does", got=f"{first.got}{more}", decisive=calls)

    async def _read_list(self) -> tuple[Collection[pb.Machine], Call]:
        call = await self._whole()
        return call.response.machines, call

    async def _read_replica(self) -> tuple[Collection[pb.Machine], Call]:
        call = await self._next_delta()
        return list(self._replica.values()), call

    async def _whole(self) -> Call:
        call = await self._list()
        count = len(call.response.machines)
        seen = self.fleet or Fleet(fewest=count, most=count)
        self.fleet = Fleet(fewest=min(seen.fewest, count), most=max(seen.most, count))
        with suppress(Violation):
            self._oracle.check_list(call, whole=True)
        return call

    async def _next_delta(self) -> Call:
        async with self._following:
            return await self._read_delta()

    async def _read_delta(self) -> Call:
        call = await self._list(since=self._cursor)
        with suppress(Violation):
            self._oracle.check_list(call, whole=False)
        for machine in call.response.machines:
            if self._drives(machine):
                self._replica[machine.id] = machine
        self._cursor = call.response.revision or self._cursor
        self._last_delta = [call]
        return call

    async def check_paging(self, since: bytes, changed: Collection[str]) -> None:
        """Checks that paging by a quarter of the changes reaches all changed machines (LST-9), and the page length."""
        cap, missing, stale = max(2, len(changed) // 4), set(changed), 0
        for _ in range(MAX_PAGES):
            call = await self._list(since=since, cap=cap)
            shown = [machine.id for machine in call.response.machines]
            with suppress(Violation):
                got = f"{len(shown)} machines"
                wanted = f"at most {cap} machines"
                self._oracle.fact(len(shown) <= cap, "LST-2", wanted=wanted, got=got, decisive=[call])
            missing -= set(shown)
            stale = stale + 1 if call.response.revision == since else 0
            if not missing or not shown or stale > MAX_STALE_PAGES:
                break
            since = call.response.revision
        else:
            return
        with suppress(Violation):
            end = "the same page repeatedly" if shown and missing else "the last page"
            wanted = f"pages of {cap} machines to reach all {len(changed)} changed machines"
            got = f"{end}, without {', '.join(sorted(missing)[:3])}"
            self._oracle.fact(not missing, "LST-9", wanted=wanted, got=got, decisive=[call])

    @property
    def cursor(self) -> bytes:
        """The revision of the last delta."""
        return self._cursor

    async def time_lists(self, since: bytes, *, times: int) -> None:
        """Times a List of live machines and a delta, while all machines are at rest."""
        for _ in range(times):
            self._timings.add_size(await self._list(LIVE_STATES))
            if self._revisions and since:
                self._timings.add_size(await self._list(since=since))

    async def _list(self, states: Collection[State] = (), *, since: bytes = b"", cap: int = 0) -> Call:
        with recording(self._recent):
            call = await self._client.list(states, since=since, cap=cap)
        self._recent.calls.clear()
        if not call.answered_ok:
            raise NoAnswer(f"List answered {call.outcome()}")
        return call
