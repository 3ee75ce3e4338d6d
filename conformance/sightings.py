"""What readers see of a machine on its way: Gets and Lists that overlap with whatever is done to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.errors import NotObserved, Unsupported
from conformance.observations import Sighting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.call import Call
    from conformance.lifecycle import State
    from conformance.machine import Machine
    from conformance.trial import Trial

READERS = 2
"""Of each kind: a provider that is slow to answer is still asked every few milliseconds."""
SHORTEST, SHARE = 0.004, 0.08
"""Seconds between two looks of one reader, and their share of the wait so far."""
LONG, MANY = 0.15, 8
"""Seconds, and times the longest that nobody looked. What was under way for so long should have been seen: a call
that is answered late leaves most of that time to the state before."""
LONGEST_LAG = 10.0
"""Seconds. What List still shows otherwise than Get after that, it does not show late but wrong."""


@dataclass(slots=True)
class Sightings:
    """The readings of one machine, in the order of their arrival."""

    machine: Machine
    all: list[Sighting] = field(default_factory=list)
    started: float = 0.0
    seconds: float = 0.0
    blind: float = 0.0
    """The longest between two answers to one reader: by a pause, a slow answer, or a machine too busy to ask."""

    def add(self, rpc: str, shown: pb.Machine) -> None:
        """Keep a reading. What shows the same as the one before weighs nothing, and nothing keeps its List alive."""
        last = self.all[-1].machine if self.all else None
        if last != shown:
            last = type(shown)()
            last.CopyFrom(shown)
        self.all.append(Sighting(rpc, last))

    def at(self, *states: State, rpc: str | None = None) -> Iterator[Sighting]:
        """The readings in one of the states, by one RPC or by any."""
        return (s for s in self.all if s.state in states and rpc in (None, s.rpc))

    def count(self, *states: State, rpc: str | None = None) -> int:
        """How many there are."""
        return sum(1 for _ in self.at(*states, rpc=rpc))

    def demand(self, state: State, *rpcs: str) -> None:
        """Raise where one of the RPCs never saw the machine in `state`: there was nothing to judge.

        Unsupported where the provider is simply that fast, NotObserved where there was time enough to see it.
        """
        unseen = [rpc for rpc in rpcs if not self.count(state, rpc=rpc)]
        if not unseen:
            return
        what = f"{self.machine.id} was not seen {state.name} by {' and '.join(unseen)}"
        if self.seconds > LONG + MANY * self.blind and not self.count(state):
            raise NotObserved(f"{what}, in {self.seconds:.2f} s")
        raise Unsupported(f"{what}: the transition was over too soon")


@asynccontextmanager
async def watching(
    trial: Trial,
    machine: Machine,
    *,
    states: Collection[State] = (),
    enough: State | None = None,
    rpcs: Collection[str] = ("Get", "List"),
    each: Callable[[Call], None] = lambda listing: None,
) -> AsyncIterator[Sightings]:
    """Look at the machine again and again, by Get and by List of `states`, while the body runs.

    A reader that has seen it in the state `enough` three times has seen enough. What `each` List raises is raised when
    the body is over.
    """
    seen = Sightings(machine, started=trial.client.now())
    over = asyncio.Event()
    readers = [
        asyncio.create_task(_look(trial, seen, rpc, states, enough, over, each, delay=SHORTEST * number / READERS))
        for number in range(READERS)
        for rpc in rpcs
    ]
    try:
        yield seen
    finally:
        seen.seconds = trial.client.now() - seen.started
        over.set()
        fates = await asyncio.gather(*readers, return_exceptions=True)
    for fate in fates:
        if isinstance(fate, BaseException):
            raise fate


async def _look(
    trial: Trial,
    seen: Sightings,
    rpc: str,
    states: Collection[State],
    enough: State | None,
    over: asyncio.Event,
    each: Callable[[Call], None],
    *,
    delay: float,
) -> None:
    client, machine = trial.client, seen.machine
    pause, answered = delay, client.now()
    while not over.is_set() and (enough is None or seen.count(enough, rpc=rpc) < 3):
        try:
            async with asyncio.timeout(pause):
                await over.wait()
        except TimeoutError:
            pass
        call = await (client.get(machine.id) if rpc == "Get" else client.list(states))
        seen.blind = max(seen.blind, call.ended - answered)
        answered = call.ended
        if call.ok and rpc == "Get":
            seen.add(rpc, call.response)
        elif call.ok:
            each(call)
            for shown in call.response.machines:
                if shown.id == machine.id:
                    seen.add(rpc, shown)
        pause = max(SHORTEST, SHARE * (client.now() - seen.started))


async def looks(trial: Trial, *, longest: float = LONGEST_LAG) -> AsyncIterator[bool]:
    """Look again and again, ever more seldom, for as long as a List may lag (LST-10), or for `longest` seconds.

    Yields whether this look is the last one.
    """
    clock = trial.client.now
    started, limit = clock(), min(longest, trial.patience.drain)
    while True:
        waited = clock() - started
        yield waited >= limit
        if waited >= limit:
            return
        await asyncio.sleep(min(max(SHORTEST, waited / 2), max(0.0, limit - waited)))
