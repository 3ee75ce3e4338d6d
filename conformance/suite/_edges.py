"""Helpers of the LIF behaviours: one edge taken under tight reads, and what those must show."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.core.errors import Unprepared, Unsupported, Violation
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.machine import FIRST_POLL, POLL_SHARE
from conformance.testkit import expect

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """What tight reads of one machine showed while it took an edge; times in seconds on the run's clock."""

    got: Sequence[tuple[float, State]]
    """By Get: when it was sent, and the state."""
    listed: Sequence[tuple[float, pb.Machine | None]]
    """By List, among the machines that are under way or at the end: when it was sent, and what it showed."""
    last: pb.Machine
    """The last Get."""

    @property
    def states(self) -> list[State]:
        """The states that Get showed, except FAILED."""
        return [state for _, state in self.got if state is not State.FAILED]

    @property
    def end(self) -> State:
        """The state that Get showed last."""
        return self.got[-1][1]

    @property
    def way(self) -> str:
        """The states that Get showed, in words and without repeats."""
        return " -> ".join(state.name for n, (_, state) in enumerate(self.got) if n == 0 or self.got[n - 1][1] != state)


async def watched(trial: Trial, machine: Machine, verb: Verb, *, doubts: list[Violation] | None = None) -> bool:
    """Takes one edge under tight reads, from before the call until well after its end, and judges what they showed.

    Returns whether the transition was seen under way: a provider may be so fast that it never is. If List showed the
    end too early, the violation goes to `doubts`, if given: a List that lags may show where the machine was before.
    """
    edge = EDGES[verb]
    before, at_source = await machine.read(), await trial.listed(machine, edge.source)
    fresh = at_source is not None and whose(at_source) == whose(before)  # else List lags, which LST-10 judges
    asked = asyncio.ensure_future(trial.begin(machine, verb))
    try:
        reads = await read_until_settled(trial, machine, verb, asked, listing=fresh)
    finally:
        asked.add_done_callback(lambda task: task.cancelled() or task.exception())  # awaited below, if we get there
    ack = await asked
    if reads.end not in (edge.target, State.FAILED):
        raise Unprepared(f"{machine.id} went {reads.way} after {verb.value}: where it ends is LIF-1's to judge")
    judge_order(reads, verb, ack)
    try:
        judge_arrival(reads, verb, ack, {whose(before), whose(reads.last)})
    except Violation as doubt:
        if doubts is None:
            raise
        doubts.append(doubt)
    if reads.end is not edge.target:
        raise Unprepared(f"{machine.id} is {reads.end.name} after {verb.value}")
    return edge.via in reads.states


async def read_until_settled(
    trial: Trial, machine: Machine, verb: Verb, asked: asyncio.Future[Call], *, listing: bool
) -> Reads:
    """Reads the machine again and again until one window after it has settled; `listing`: by List too."""
    edge, now = EDGES[verb], trial.client.now
    got: list[tuple[float, State]] = []
    listed: list[tuple[float, pb.Machine | None]] = []
    begun, until = now(), math.inf
    while True:
        at = now()
        last = await machine.read()
        state = state_of(last.state)
        got.append((at, state))
        if listing and len(got) % 2:
            listed.append((now(), await trial.listed(machine, edge.via, edge.target)))
        if until == math.inf and asked.done() and (asked.exception() or state in (edge.target, State.FAILED)):
            until = now() + trial.window
        pause = max(FIRST_POLL, POLL_SHARE * (now() - begun), 0 if until == math.inf else trial.window / 20)
        await asyncio.sleep(pause)
        if now() >= min(until, begun + 2 * machine.patience.for_verb(verb)):
            return Reads(got=got, listed=listed, last=last)


def judge_order(reads: Reads, verb: Verb, ack: Call) -> None:
    """Get shows the states of the edge in their order, and the first of them no more after the ack (LIF-2)."""
    edge = EDGES[verb]
    order = (edge.source, edge.via, edge.target)
    in_order = all(state in order for state in reads.states) and all(
        order.index(one) <= order.index(other) for one, other in pairwise(reads.states)
    )
    expect.fact(
        in_order,
        wanted=f"Get to show {edge.source.name}, {edge.via.name} and {edge.target.name}, in this order",
        got=reads.way,
        calls=[ack],
    )
    expect.fact(
        not any(state is edge.source for at, state in reads.got if at >= ack.ended),
        wanted=f"Get to show {edge.source.name} no more after the ack",
        got=reads.way,
        calls=[ack],
    )


def judge_arrival(reads: Reads, verb: Verb, ack: Call, ours: Collection[tuple[str, str]]) -> None:
    """List does not show the end of the edge while Get still shows the machine under way (LIF-2)."""
    edge = EDGES[verb]
    early = arrival(reads.listed, edge.target, ours)
    expect.fact(
        early is None or not any(state is edge.via for at, state in reads.got if at > early),
        wanted=f"List not to show {edge.target.name} while {verb.value} still runs",
        got=f"List showed it, and Get showed {edge.via.name} after that",
        calls=[ack],
    )


def whose(machine: pb.Machine) -> tuple[str, str]:
    """Returns what tells one life, and one binding, from another: host and cluster."""
    return machine.host.ref, machine.cluster


def arrival(
    listed: Sequence[tuple[float, pb.Machine | None]], end: State, ours: Collection[tuple[str, str]]
) -> float | None:
    """Returns when List came to show the machine at its end, for good; None if it did not.

    If it shows something older after that, or another life or binding than `ours`, it lags, which it may (LST-10).
    """
    there = [shown is not None and state_of(shown.state) is end and whose(shown) in ours for _, shown in listed]
    return next((at for number, (at, _) in enumerate(listed) if all(there[number:])), None)


async def watched_once(trial: Trial, verb: Verb) -> None:
    """Takes an edge that costs a machine, under tight reads. Raises Unsupported if it is over too soon to be seen."""
    if not await watched(trial, trial.machine, verb):
        raise Unsupported(f"{verb.value} is over before it can be looked at")


async def watched_until_seen(trial: Trial, verb: Verb) -> None:
    """Takes one edge under tight reads, from its source each time, until the transition was seen under way.

    That List was early counts only if it was so in every round.
    """
    doubts: list[Violation] = []
    for _ in range(ROUNDS):
        await trial.bring(trial.machine, EDGES[verb].source)
        known = len(doubts)
        if await watched(trial, trial.machine, verb, doubts=doubts) and len(doubts) == known:
            return
    if len(doubts) == ROUNDS:
        raise doubts[-1]
    raise Unsupported(f"{verb.value} is over before it can be looked at")
