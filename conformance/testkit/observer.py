"""Observes a machine in transition, by Gets and Lists that are concurrent with other calls."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.errors import NotObserved
from conformance.core.lifecycle import EDGES
from conformance.rpc.call import answers_of
from conformance.testkit.observations import Observation
from conformance.testkit.timing import missed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.lifecycle import State, Verb
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

READERS_PER_RPC = 2
"""Concurrent readers, so that a provider that is slow to answer still gets a call every few milliseconds."""
MIN_PAUSE_S, PAUSE_SHARE = 0.004, 0.08
"""Minimum seconds between two reads of one reader, and the pause as a share of the wait so far."""
VISIBLE_AFTER_S, VISIBLE_AFTER_GAPS = 0.15, 8
"""Seconds, and multiples of the longest gap between two answers. A transition that took longer than their sum should
have been seen. If a call is answered late, the machine may have spent most of that time in the earlier state."""
LONGEST_LAG = 10.0
"""Maximum seconds that a List may lag. If it still differs from Get then, that is a violation."""


@dataclass(slots=True)
class Observations:
    """The readings of one machine, in the order of their arrival."""

    machine: Machine
    all: list[Observation] = field(default_factory=list)
    started: float = 0.0
    seconds: float = 0.0
    longest_gap: float = 0.0
    """Seconds of the longest gap between two answers to one reader: a pause, a slow answer, or a busy computer."""

    def add(self, rpc: str, shown: pb.Machine) -> None:
        """Adds a reading. Equal readings share one copied message: the original would keep its List in memory."""
        last = self.all[-1].machine if self.all else None
        if last != shown:
            last = type(shown)()
            last.CopyFrom(shown)
        self.all.append(Observation(rpc, last))

    def at(self, *states: State, rpc: str | None = None) -> Iterator[Observation]:
        """Returns the readings in one of the states, by one RPC or by any."""
        return (s for s in self.all if s.state in states and rpc in (None, s.rpc))

    def count(self, *states: State, rpc: str | None = None) -> int:
        """Returns the number of such readings."""
        return sum(1 for _ in self.at(*states, rpc=rpc))

    def demand(self, trial: Trial, verb: Verb, ack: Call) -> None:
        """Raises an error if no Get showed the transition that `ack` acknowledged: then there is nothing to judge.

        The error is NotObserved if there was enough time to see it; see `missed` for the other errors.
        """
        state = EDGES[verb].via
        if self.count(state, rpc="Get"):
            return
        if self.seconds > VISIBLE_AFTER_S + VISIBLE_AFTER_GAPS * self.longest_gap and not self.count(state):
            raise NotObserved(f"{self.machine.id} was not seen {state.name} by Get, in {self.seconds:.2f} s")
        raise missed(trial, verb, ack)


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
    """Reads the machine repeatedly, by Get and by List of `states`, while the body runs.

    A reader stops after it has seen the state `enough` three times. Calls `each` with every List; its exception is
    raised at the end of the body.
    """
    seen = Observations(machine, started=trial.client.now())
    over = asyncio.Event()
    readers = [
        asyncio.create_task(
            _read_repeatedly(trial, seen, rpc, states, enough, over, each, delay=MIN_PAUSE_S * number / READERS_PER_RPC)
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


async def _read_repeatedly(
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
    """Reads the machine by one RPC until the body is over, or the state `enough` was seen three times."""
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
        # A reading that is missing is only a gap: what there is, is judged.
        if not answers_of([call]) or not call.ok:
            pass
        elif rpc == "Get":
            seen.add(rpc, call.response)
        else:
            each(call)
            for shown in call.response.machines:
                if shown.id == machine.id:
                    seen.add(rpc, shown)
        pause = max(MIN_PAUSE_S, PAUSE_SHARE * (client.now() - seen.started))


async def poll_until_deadline(trial: Trial, *, longest: float = LONGEST_LAG) -> AsyncIterator[bool]:
    """Yields when a reading is due, at growing intervals, while a List may lag (LST-10), or for `longest` seconds.

    The value is True for the last reading.
    """
    clock = trial.client.now
    started, limit = clock(), min(longest, trial.patience.drain)
    while True:
        waited = clock() - started
        yield waited >= limit
        if waited >= limit:
            return
        await asyncio.sleep(min(max(MIN_PAUSE_S, waited / 2), max(0.0, limit - waited)))
