"""Helpers of the LIF behaviours: take one edge while the machine is read at short intervals, and judge the readings."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.core.errors import Unprepared, Violation
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.machine import FIRST_POLL, POLL_SHARE
from conformance.testkit import expect
from conformance.testkit.timing import missed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.errors import KitTooSlow, Unsupported
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

MAX_ROUNDS = 3
"""Maximum number of times that an edge is taken until its transition is observed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The readings of one machine while it took an edge; times are seconds on the run's clock."""

    by_get: Sequence[tuple[float, State]]
    """For each Get: when it was sent, and the state that it showed."""
    answered: Sequence[float]
    """For each Get: when its answer was read."""
    by_list: Sequence[tuple[float, pb.Machine | None]]
    """For each List of the edge's transitional and target states: when it was sent, and the machine; None if absent."""
    last: pb.Machine
    """The machine as the last Get showed it."""

    @property
    def states(self) -> list[State]:
        """The states that Get showed, except FAILED."""
        return [state for _, state in self.by_get if state is not State.FAILED]

    @property
    def end(self) -> State:
        """The state that Get showed last."""
        return self.by_get[-1][1]

    @property
    def path(self) -> str:
        """The states that Get showed, as text without repeats."""
        return " -> ".join(
            state.name for n, (_, state) in enumerate(self.by_get) if n == 0 or self.by_get[n - 1][1] != state
        )


async def observe_edge(
    trial: Trial, machine: Machine, verb: Verb, *, list_violations: list[Violation] | None = None
) -> Unsupported | KitTooSlow | None:
    """Takes one edge while the machine is read, from before the call until well after its end, and judges the readings.

    Returns the error to raise if no Get showed the transition: a provider may be too fast for that. If List showed the
    target too early, the violation is added to `list_violations` if given: a List that lags may show an earlier state.
    """
    edge = EDGES[verb]
    before, at_source = await machine.read(), await trial.listed(machine, edge.source)
    # If List lags, it is not read: LST-10 judges that.
    list_is_current = at_source is not None and host_and_cluster(at_source) == host_and_cluster(before)
    pending = asyncio.ensure_future(trial.begin(machine, verb))
    try:
        reads = await read_until_settled(trial, machine, verb, pending, listing=list_is_current)
    finally:
        # If the reads raised, nothing awaits `pending`: retrieve its exception, so that asyncio does not log it.
        pending.add_done_callback(lambda task: task.cancelled() or task.exception())
    ack = await pending
    if reads.end not in (edge.target, State.FAILED):
        raise Unprepared(f"{machine.id} went {reads.path} after {verb.value}: LIF-1 judges where it ends")
    judge_order(reads, verb, ack)
    try:
        judge_list_not_early(reads, verb, ack, {host_and_cluster(before), host_and_cluster(reads.last)})
    except Violation as violation:
        if list_violations is None:
            raise
        list_violations.append(violation)
    if reads.end is not edge.target:
        raise Unprepared(f"{machine.id} is {reads.end.name} after {verb.value}")
    if edge.via in reads.states:
        return None
    first = next((n for n, (sent, _) in enumerate(reads.by_get) if sent >= ack.ended), -1)
    return missed(trial, verb, ack, at=reads.answered[first])


async def read_until_settled(
    trial: Trial, machine: Machine, verb: Verb, pending: asyncio.Future[Call], *, listing: bool
) -> Reads:
    """Reads the machine repeatedly, with `listing` by List too, until one window after it has settled."""
    edge, now = EDGES[verb], trial.client.now
    by_get: list[tuple[float, State]] = []
    answered: list[float] = []
    by_list: list[tuple[float, pb.Machine | None]] = []
    begun, until, given_up = now(), math.inf, machine.record.calls.given_up
    while True:
        at = now()
        last = await machine.read()
        state = state_of(last.state)
        by_get.append((at, state))
        answered.append(now())
        if listing and len(by_get) % 2:
            by_list.append((now(), await trial.listed(machine, edge.via, edge.target)))
        settled = state in (edge.target, State.FAILED) or machine.record.calls.given_up > given_up
        if until == math.inf and pending.done() and (pending.exception() or settled):
            until = now() + trial.window
        pause = max(FIRST_POLL, POLL_SHARE * (now() - begun), 0 if until == math.inf else trial.window / 20)
        await asyncio.sleep(pause)
        if now() >= min(until, begun + 2 * machine.patience.for_verb(verb)):
            return Reads(by_get=by_get, answered=answered, by_list=by_list, last=last)


def judge_order(reads: Reads, verb: Verb, ack: Call) -> None:
    """Checks that Get shows the states of the edge in order, and not the source state after the ack (LIF-2)."""
    edge = EDGES[verb]
    order = (edge.source, edge.via, edge.target)
    in_order = all(state in order for state in reads.states) and all(
        order.index(one) <= order.index(other) for one, other in pairwise(reads.states)
    )
    expect.fact(
        in_order,
        wanted=f"Get to show {edge.source.name}, {edge.via.name} and {edge.target.name}, in this order",
        got=reads.path,
        calls=[ack],
    )
    expect.fact(
        not any(state is edge.source for at, state in reads.by_get if at >= ack.ended),
        wanted=f"Get not to show {edge.source.name} after the ack",
        got=reads.path,
        calls=[ack],
    )


def judge_list_not_early(reads: Reads, verb: Verb, ack: Call, ours: Collection[tuple[str, str]]) -> None:
    """Checks that List does not show the target state while Get still shows the transition (LIF-2)."""
    edge = EDGES[verb]
    early = listed_at_end_since(reads.by_list, edge.target, ours)
    expect.fact(
        early is None or not any(state is edge.via for at, state in reads.by_get if at > early),
        wanted=f"List not to show {edge.target.name} while {verb.value} is still running",
        got=f"List showed {edge.target.name}, and a later Get showed {edge.via.name}",
        calls=[ack],
    )


def host_and_cluster(machine: pb.Machine) -> tuple[str, str]:
    """Returns host and cluster, which differ between two hosts and between two bindings of a machine."""
    return machine.host.ref, machine.cluster


def listed_at_end_since(
    listed: Sequence[tuple[float, pb.Machine | None]], end: State, ours: Collection[tuple[str, str]]
) -> float | None:
    """Returns since when every List showed the machine in state `end`; None if the last one did not.

    A List that shows something older after that, or a host and cluster that are not in `ours`, lags (LST-10).
    """
    at_end = [
        shown is not None and state_of(shown.state) is end and host_and_cluster(shown) in ours for _, shown in listed
    ]
    return next((at for number, (at, _) in enumerate(listed) if all(at_end[number:])), None)


async def observe_edge_once(trial: Trial, verb: Verb) -> None:
    """Takes an edge that costs a machine, and judges the readings. Raises the error of `missed` if none shows it.

    A List that lags may show an earlier time at which the machine was in the target state. So if List showed it too
    early, the edge is taken again, and that is a violation only if it happened in every round. Without Delete, the
    machine was never there before.
    """
    list_violations: list[Violation] = []
    for number in range(1, MAX_ROUNDS + 1):
        await trial.bring(trial.machine, EDGES[verb].source)
        not_seen = await observe_edge(trial, trial.machine, verb, list_violations=list_violations)
        if len(list_violations) < number:
            break
        if not trial.found.delete:
            raise list_violations[-1]
    else:
        raise list_violations[-1]
    if not_seen is not None:
        raise not_seen


async def observe_edge_until_seen(trial: Trial, verb: Verb) -> None:
    """Takes one edge repeatedly, and judges its readings, until the transition was seen.

    A List that showed the target too early is a violation only if it happened in every round.
    """
    list_violations: list[Violation] = []
    not_seen: list[Unsupported | KitTooSlow] = []
    for _ in range(MAX_ROUNDS):
        await trial.bring(trial.machine, EDGES[verb].source)
        known = len(list_violations)
        missing = await observe_edge(trial, trial.machine, verb, list_violations=list_violations)
        if missing is not None:
            not_seen.append(missing)
        elif len(list_violations) == known:
            return
    if len(list_violations) == MAX_ROUNDS:
        raise list_violations[-1]
    raise not_seen[-1]
