"""The last phase: what only a crowd shows, of shards, of calls at once and of machines in the fleet, all at rest.

It starts no machine: it reads, and sends Drains to one IDLE machine, which have no edge there (COD-2).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NoAnswer
from conformance.core.fencing import Token
from conformance.core.lifecycle import State
from conformance.fleet.model import lists
from conformance.lanes.scale.timings import RecentCalls
from conformance.rpc.call import recording

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from conformance.fleet.context import FleetContext
    from conformance.lanes.scale.timings import Timings
    from conformance.lanes.scale.verdicts import Verdicts
    from conformance.results.breach import Breach
    from conformance.rpc.call import Call

SHARDS: Final = 1_100
"""The number of shards that call one machine."""
AT_ONCE: Final = 40
"""The number of calls that are under way at once: a shard sends for 32 machines at once."""
OLDEST, SAMPLED = 10, 30
"""The number of shards, from the first and from all, that repeat their tokens."""
MOST_READ: Final = 300
"""The maximum number of machines that are read one by one."""
MIN_ATTEMPTS: Final = 3
"""The minimum number of times that a machine must be missing in a row: other clients may drive it."""
FIRST_PAUSE_SECONDS: Final = 0.05
"""The pause before the second attempt. Each pause is twice the last one."""
STATES: Final = tuple(state for state in State if state is not State.UNSPECIFIED)


class Crowd:
    """The phase. Methods raise NoAnswer if a List is not answered."""

    def __init__(
        self, context: FleetContext, verdicts: Verdicts, timings: Timings, rng: random.Random, *, lag: float
    ) -> None:
        self._context, self._verdicts, self._rng, self._lag = context, verdicts, rng, lag
        self._recent = RecentCalls(timings)

    async def run(self, idle: str | None) -> None:
        """Sends the calls of many shards to the machine `idle`, if there is one, and reads the whole fleet."""
        with recording(self._recent):
            if idle is not None:
                await self._call_from_many_shards(idle)
            await self._read_fleet()

    async def _call_from_many_shards(self, machine_id: str) -> None:
        """Sends one call of each shard, and then some of them again: the model checks that these are fenced."""

        async def drain(number: int) -> Call:
            return await self._context.client.drain(machine_id, Token(f"{self._context.run}-crowd-{number}", 1, 1))

        for start in range(0, SHARDS, AT_ONCE):
            first = await self._together(drain, range(start, min(start + AT_ONCE, SHARDS)))
            if not all(call.answered and not call.busy for call in first):
                return  # it has too much to do, or refuses every such call like that
        again = (*range(OLDEST), *self._rng.sample(range(OLDEST, SHARDS), SAMPLED))
        repeated = await self._together(drain, again)
        self._verdicts.judged["FEN-12"] += sum(call.answered and not call.busy for call in repeated)

    async def _read_fleet(self) -> None:
        """Compares the whole List with those of each state, with a capped one, and with Gets."""
        for clause, look in (("LST-1", self._union), ("LST-2", self._page), ("LST-4", self._gets)):
            await self._note_if_it_stays(clause, look)

    async def _note_if_it_stays(self, clause: str, look: Callable[[], Awaitable[Sequence[Breach]]]) -> None:
        """Notes a breach that is seen of the same machine in every attempt, for as long as a List may lag."""
        self._verdicts.judged[clause] += 1
        clock, pause, attempts = self._context.client.now, FIRST_PAUSE_SECONDS, 1
        until, seen = clock() + self._lag, _by_machine(await look())
        while seen and (clock() < until or attempts < MIN_ATTEMPTS):
            await asyncio.sleep(pause)
            pause, attempts = 2 * pause, attempts + 1
            seen = {key: breach for key, breach in _by_machine(await look()).items() if key in seen}
        for breach in list(seen.values())[:1]:  # one defect may show on every machine
            self._verdicts.model.note(breach)

    async def _union(self) -> Sequence[Breach]:
        before = await self._list()
        singles = [await self._list(state) for state in STATES]
        return list(lists.of_union(before, singles, await self._list()))

    async def _page(self) -> Sequence[Breach]:
        before = await self._list()
        page = await self._list(cap=max(1, len(before.response.machines)))
        return list(lists.of_whole_page(before, page, await self._list()))

    async def _gets(self) -> Sequence[Breach]:
        before = await self._list()
        ids = [machine.id for machine in before.response.machines]
        chosen = sorted(self._rng.sample(ids, min(MOST_READ, len(ids))))
        gets = await self._together(self._context.client.get, chosen)
        return list(lists.of_unread(before, gets, await self._list()))

    async def _list(self, *states: State, cap: int = 0) -> Call:
        call = await self._context.client.list(states, cap=cap)
        self._recent.calls.clear()
        if not call.answered_ok:
            raise NoAnswer(f"List answered {call.outcome()}")
        return call

    async def _together(self, send: Callable[..., Awaitable[Call]], what: Iterable[object]) -> list[Call]:
        """Sends one call for each of `what`, `AT_ONCE` at a time."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(each: object) -> Call:
            async with gate:
                return await send(each)

        return list(await asyncio.gather(*(one(each) for each in what)))


def _by_machine(breaches: Iterable[Breach]) -> dict[tuple[str, str], Breach]:
    return {(breach.behaviour, breach.machine): breach for breach in breaches}
