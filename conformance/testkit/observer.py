"""Observes a machine on its way: Gets and Lists that overlap with whatever is done to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.errors import NotObserved, Unsupported
from conformance.testkit.observations import Observation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.lifecycle import State
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

READERS_PER_RPC = 2
"""Readers of each kind, so that a provider that is slow to answer is still asked every few milliseconds."""
MIN_PAUSE_S, PAUSE_SHARE = 0.004, 0.08
"""Minimum seconds between two reads of one reader, and the pause as a share of the wait so far."""
VISIBLE_AFTER_S, VISIBLE_AFTER_GAPS = 0.15, 8
"""Seconds, and multiples of the longest gap between two answers. A transition that took longer than their sum should
have been seen; a call that is answered late may leave most of its time to the state before."""
LONGEST_LAG = 10.0
"""Seconds. If List still differs from Get after that, it is not late but wrong."""


@dataclass(slots=True)
class Observations:
    """The readings of one machine, in the order of their arrival."""

    machine: Machine
    all: list[Observation] = field(default_factory=list)
    started: float = 0.0
    seconds: float = 0.0
    longest_gap: float = 0.0
    """The longest gap between two answers to one reader: a pause, a slow answer, or a computer too busy to ask."""

    def add(self, rpc: str, shown: pb.Machine) -> None:
        """Adds a reading. Equal readings share one message, which is a copy so that it does not keep its List alive."""
        last = self.all[-1].machine if self.all else None
        if last != shown:
            last = type(shown)()
            last.CopyFrom(shown)
        self.all.append(Observation(rpc, last))

    def at(self, *states: State, rpc: str | None = None) -> Iterator[Observation]:
        """Returns the readings in one of the states, by one RPC or by any."""
        return (s for s in self.all if s.state in states and rpc in (None, s.rpc))

    def count(self, *states: State, rpc: str | None = None) -> int:
        """Returns how many such readings there are."""
        return sum(1 for _ in self.at(*states, rpc=rpc))

    def demand(self, state: State, *rpcs: str) -> None:
        """Raises if one of the RPCs never saw the machine in `state`: then there was nothing to judge.

        Unsupported if the provider is simply that fast, NotObserved if there was time enough to see it.
        """
        unseen = [rpc for rpc in rpcs if not self.count(state, rpc=rpc)]
        if not unseen:
            return
        what = f"{self.machine.id} was not seen {state.name} by {' and '.join(unseen)}"
        if self.seconds > VISIBLE_AFTER_S + VISIBLE_AFTER_GAPS * self.longest_gap and not self.count(state):
            raise NotObserved(f"{what}, in {self.seconds:.2f} s")
        raise Unsupported(f"{what}: the transition was over too soon")


@asynccontextmanager
async def observe(
    trial: Trial,
    machine: Machine,
    *,
    states: Collection[State] = (),
    enough: State | None = None,
    rpcs: Collection[str] = ("Get", "List"),
    each: Callable[[Call], None] = lambda listing: None,
) -> AsyncIterator[Observations]:
    """Reads the machine again and again, by Get and by List of `states`, while the body runs.

    A reader that has seen it in the state `enough` three times stops. What `each` raises for a List is raised when the
    body is over.
    """
    seen = Observations(machine, started=trial.client.now())
    over = asyncio.Event()
    readers = [
        asyncio.create_task(
            _look(trial, seen, rpc, states, enough, over, each, delay=MIN_PAUSE_S * number / READERS_PER_RPC)
        )
        for number in range(READERS_PER_RPC)
        for rpc in rpcs
    ]
    try:
        yield seen
    finally:
        seen.seconds = trial.client.now() - seen.started
        over.set()
        outcomes = await asyncio.gather(*readers, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _look(
    trial: Trial,
    seen: Observations,
    rpc: str,
    states: Collection[State],
    enough: State | None,
    over: asyncio.Event,
    each: Callable[[Call], None],
    *,
    delay: float,
) -> None:
    """Reads the machine by one RPC until the body is over, or enough was seen."""
    client, machine = trial.client, seen.machine
    pause, answered = delay, client.now()
    while not over.is_set() and (enough is None or seen.count(enough, rpc=rpc) < 3):
        try:
            async with asyncio.timeout(pause):
                await over.wait()
        except TimeoutError:
            pass
        call = await (client.get(machine.id) if rpc == "Get" else client.list(states))
        seen.longest_gap = max(seen.longest_gap, call.ended - answered)
        answered = call.ended
        if call.ok and rpc == "Get":
            seen.add(rpc, call.response)
        elif call.ok:
            each(call)
            for shown in call.response.machines:
                if shown.id == machine.id:
                    seen.add(rpc, shown)
        pause = max(MIN_PAUSE_S, PAUSE_SHARE * (client.now() - seen.started))


async def poll_until_deadline(trial: Trial, *, longest: float = LONGEST_LAG) -> AsyncIterator[bool]:
    """Yields once for each look, ever more seldom, as long as a List may lag (LST-10), or for `longest` seconds.

    The value says whether this look is the last one.
    """
    clock = trial.client.now
    started, limit = clock(), min(longest, trial.patience.drain)
    while True:
        waited = clock() - started
        yield waited >= limit
        if waited >= limit:
            return
        await asyncio.sleep(min(max(MIN_PAUSE_S, waited / 2), max(0.0, limit - waited)))
