"""Reads the Lists and deltas from which a shard learns about a fleet, and compares them with the model of the fleet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NoAnswer
from conformance.core.lifecycle import State
from conformance.fleet.model import lists
from conformance.lanes.scale.figures import Fleet
from conformance.lanes.scale.timings import RecentCalls
from conformance.rpc.call import Call, recording

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.lanes.scale.timings import Timings
    from conformance.lanes.scale.verdicts import Verdicts
    from conformance.results.breach import Breach
    from conformance.rpc.client import Client

LISTED: Final = ("LST-4a", "List")
"""The behaviour that is broken if List disagrees with Get, and the name of that view."""
REPLICA: Final = ("LST-6a", "the sequence of deltas")
MAX_LAG_SECONDS: Final = 10.0
"""A List that differs from Get for longer than this is wrong, not late."""
LIVE_STATES: Final = tuple(state for state in State if state > State.SPECULATIVE)
MAX_PAGES: Final = 200
"""The maximum number of pages. A fleet that still changes after them cannot be paged through, and is not judged."""
MAX_STALE_PAGES: Final = 4
"""The number of pages in a row with the same revision after which paging does not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A machine that rests until the deltas show it correctly, or until a deadline. The result is the breach."""

    machine_id: str
    until: float
    result: asyncio.Future[Breach | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Follower:
    """Keeps a replica of our machines by deltas alone. Methods raise NoAnswer if List is not answered."""

    def __init__(self, client: Client, verdicts: Verdicts, timings: Timings, *, revisions: bool, lag: float) -> None:
        self._client, self._verdicts, self._revisions = client, verdicts, revisions
        self.lag = min(lag, MAX_LAG_SECONDS)
        """The seconds by which a List or a delta may lag behind Get."""
        self._recent, self._timings = RecentCalls(timings), timings
        self._replica: dict[str, pb.Machine] = {}
        self._cursor = b""
        self.fleet: Fleet | None = None
        self._following = asyncio.Lock()
        self._waiting: list[Waiting] = []

    async def begin(self) -> None:
        """Fills the replica from a whole List."""
        call = await self._whole()
        self._replica = {machine.id: machine for machine in call.response.machines if self._drives(machine)}
        self._cursor = call.response.revision

    def _drives(self, machine: pb.Machine) -> bool:
        return machine.id in self._verdicts.driven

    async def check_list(self) -> None:
        """Checks a whole List while machines move."""
        await self._whole()

    async def follow_delta(self) -> None:
        """Checks a delta while machines move, and ends `wait_until_shown` for machines that it shows correctly."""
        try:
            delta = await self._next_delta()
        except NoAnswer:
            for waiting in self._waiting:
                if self._client.now() >= waiting.until and not waiting.result.done():
                    waiting.result.set_result(None)  # no delta came, so the machine is not judged
            raise
        now = self._client.now()
        for waiting in [each for each in self._waiting if not each.result.done()]:
            machine = self._replica.get(waiting.machine_id)
            found = None if machine is None else self._verdicts.model.disagreement(*REPLICA, machine, delta)
            self._verdicts.judged["LST-6"] += 1
            if found is None or now >= waiting.until:
                waiting.result.set_result(found)

    async def wait_until_shown(self, machine_id: str) -> None:
        """Waits until the deltas show the machine, which rests meanwhile, correctly. Notes the breach if they do not.

        Another task must call `follow_delta` meanwhile.
        """
        if not self._revisions:
            return
        waiting = Waiting(machine_id=machine_id, until=self._client.now() + self.lag)
        self._waiting.append(waiting)
        try:
            found = await waiting.result
        finally:
            self._waiting.remove(waiting)
        if found is not None:
            del self._replica[machine_id]  # otherwise the next comparison would find the same
            self._verdicts.model.note(found)

    async def compare(self) -> None:
        """Notes where List and replica still disagree with Get after the lag, while all machines are at rest."""
        await self._agrees(LISTED, self._read_list)
        if self._revisions and not await self._agrees(REPLICA, self._read_replica):
            await self.begin()  # otherwise every later comparison would find the same

    async def _agrees(
        self, view: tuple[str, str], read: Callable[[], Awaitable[tuple[Collection[pb.Machine], Call]]]
    ) -> bool:
        clock, model = self._client.now, self._verdicts.model
        until, pause = clock() + self.lag, 0.01
        while True:
            shown, call = await read()
            driven = [machine for machine in shown if self._drives(machine)]
            self._verdicts.judged[view[0][:-1]] += len(driven)
            found = [breach for each in driven if (breach := model.disagreement(*view, each, call)) is not None]
            if not found or clock() >= until:
                break
            await asyncio.sleep(pause)
            pause *= 2
        for breach in found:
            model.note(breach)
        return not found

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
        self._verdicts.judged["LST-1"] += 1
        return call

    async def _next_delta(self) -> Call:
        async with self._following:
            return await self._read_delta()

    async def _read_delta(self) -> Call:
        call = await self._list(since=self._cursor)
        for machine in call.response.machines:
            if self._drives(machine):
                self._replica[machine.id] = machine
        self._cursor = call.response.revision or self._cursor
        return call

    async def check_paging(self, since: bytes, changed: Collection[str]) -> None:
        """Checks that paging by a quarter of the changes reaches all changed machines (LST-9), and the page length."""
        cap, missing, pages, stale = max(2, len(changed) // 4), set(changed), list[Call](), 0
        while missing and stale <= MAX_STALE_PAGES:
            if len(pages) == MAX_PAGES:
                return
            page = await self._list(since=since, cap=cap)
            pages.append(page)
            missing -= {machine.id for machine in page.response.machines}
            stale = stale + 1 if page.response.revision == since else 0
            if not page.response.machines:
                break
            since = page.response.revision
        self._verdicts.judged.update({"LST-2": len(pages), "LST-9": 1})
        self._verdicts.model.note_missing(lists.of_pages(pages, changed))

    async def check_delta(self, since: bytes, changed: Collection[str]) -> None:
        """Checks that the delta since an old revision contains all machines that have changed after it (LST-6)."""
        clock, pause = self._client.now, 0.01
        until = clock() + self.lag
        self._verdicts.judged["LST-6"] += len(changed)
        while (breach := lists.of_delta(await self._list(since=since), changed)) is not None and clock() < until:
            await asyncio.sleep(pause)
            pause *= 2
        self._verdicts.model.note_missing(breach)

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
        self._verdicts.judged.update({"LST-3": 1, "MET-3": len(self._verdicts.driven)})
        return call
