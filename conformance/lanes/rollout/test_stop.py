"""ROL-1: an orderly stop, at rest and under load."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from grpc import StatusCode

from conformance.core.errors import Violation
from conformance.core.lifecycle import State, Verb
from conformance.lanes.rollout.health import watching
from conformance.lanes.rollout.stops import (
    at_rest,
    has_new_ids,
    is_as_it_was,
    judge_all,
    marks_hold,
    marks_of,
    stop,
    stopping,
)
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.restarted import Edge, back, harmless, look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.fencing import Shard
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

AT_REST: Final = "an orderly stop at rest"
RUNNING: Final = "an orderly stop while transitions ran"
MEANWHILE: Final = "an orderly stop during the calls"
CALLERS: Final = 4
"""The number of connections over which calls are sent while the provider stops."""
PAUSE_S: Final = 0.002
"""The pause between two calls over one connection."""
LOST_WORDS: Final = (
    *("cancelling all calls", "socket closed", "connection reset", "recvmsg", "goaway", "stream removed", "rst_stream"),
    *("broken pipe", "endpoint closing", "connection closed", "transport closed"),
)
"""Parts of gRPC's messages about a connection that has ended during a call."""
NEXT: Final = {State.SPECULATIVE: Verb.CREATE, State.IDLE: Verb.CONFIGURE, State.CONFIGURED: Verb.DRAIN}
"""The verb that drives a machine on."""


@behaviour("ROL-1a", machines=2, start=State.IDLE, transitions=5, restarts=True)
async def test_the_fleet_at_rest_outlives_an_orderly_stop(trial: Trial) -> None:
    rest = await at_rest(trial, *trial.machines)
    before = await look(trial)
    await stop(trial)
    await back(trial, before, AT_REST, whole=True)
    await is_as_it_was(rest, AT_REST)
    await has_new_ids(trial, rest, AT_REST)


@behaviour("ROL-1b", machines=2, start=State.IDLE, bound=1, transitions=1, restarts=True)
async def test_marks_outlive_an_orderly_stop(trial: Trial) -> None:
    marks, before = await marks_of(trial, trial.machines), await look(trial)
    await stop(trial)
    await back(trial, before, AT_REST)
    await marks_hold(marks)


@behaviour("ROL-1c", machines=3, start=State.IDLE, bound=1, creates=True, transitions=4, restarts=True)
async def test_transitions_that_run_during_a_stop_end_properly(trial: Trial) -> None:
    machines: Sequence[Machine] = trial.machines
    verbs = [Verb.DELETE if trial.found.delete else Verb.CONFIGURE, Verb.CONFIGURE, Verb.DRAIN]
    for _ in range(2):
        edges = [Edge.of(trial, machine, verb) for machine, verb in zip(machines, verbs, strict=True)]
        seen, before = {machine.id: await machine.read() for machine in machines}, await look(trial)
        begun = (trial.begin(edge.machine, edge.verb, edge.send()) for edge in edges)
        calls = await asyncio.gather(*begun)
        await stop(trial)
        await back(trial, before, RUNNING, moving=seen.keys())
        machines = await judge_all(trial, list(zip(edges, calls, strict=True)), seen, RUNNING)
        verbs = [NEXT[machine.state] for machine in machines]


@behaviour("ROL-1d", machines=4, start=State.IDLE, bound=2, transitions=2, restarts=True)
async def test_what_is_acknowledged_during_a_stop_holds(trial: Trial) -> None:
    edges = [Edge.of(trial, machine, NEXT[machine.state]) for machine in trial.machines]
    trial.random.shuffle(edges)
    seen, before = {edge.machine.id: await edge.machine.read() for edge in edges}, await look(trial)
    sent: list[tuple[Edge, Call]] = []
    async with trial.connections(len(edges)) as clients, stopping(trial) as ended:
        for edge, client in zip(edges, clients, strict=True):
            if not ended.done():
                sent.append((edge, await edge.send(client=client)))
                await asyncio.wait({ended}, timeout=trial.random.uniform(0.01, 0.15))
    await back(trial, before, MEANWHILE, moving=[edge.machine.id for edge, _ in sent])
    await judge_all(trial, sent, seen, MEANWHILE)


class Taken(NamedTuple):
    """A call that was cut off, and the answer to the same token after the restart."""

    call: Call
    after: Call


@behaviour("ROL-1e", machines=2, start=State.IDLE, bound=1, transitions=1, restarts=True)
async def test_every_call_that_was_taken_is_answered(trial: Trial) -> None:
    """Calls that meet the end of the provider may be lost on their way. One that has moved its mark was taken.

    A second stop must show the same: a connection may also end for a reason of its own.
    """
    if await taken_without_answer(trial):
        lost = await taken_without_answer(trial)
        if lost:
            raise Violation(
                "every call that the provider has taken to be answered before it ends",
                f"{lost[0].call.rpc} with token {lost[0].call.token} was cut off, and the token is spent",
                calls=[lost[0].call, lost[0].after],
            )


async def taken_without_answer(trial: Trial) -> Sequence[Taken]:
    """Stops the provider during many calls; returns those that were cut off and have moved their marks."""
    before = await look(trial)
    async with trial.connections(CALLERS) as clients:
        async with AsyncExitStack() as stack:
            callers = [
                Caller(trial.machines[number % 2], trial.new_shard(), each) for number, each in enumerate(clients)
            ]
            await asyncio.gather(*(caller.call() for caller in callers))  # a slow computer is slowest at first
            ended = asyncio.Event()
            ends = [asyncio.ensure_future(caller.call_until_the_end(ended)) for caller in callers]
            stack.callback(lambda: [end.cancel() for end in ends])
            await asyncio.sleep(trial.random.uniform(0.03, 0.1))
            await stop(trial)
            ended.set()
            stack.pop_all()
        last = await asyncio.gather(*ends)
    await back(trial, before, MEANWHILE)
    found = []
    for machine, call in last:
        if was_cut_off(call) and call.token is not None:
            after = await expect.answered(machine.call(Verb(call.rpc), call.token))
            if after.fenced:
                found.append(Taken(call, after))
    return found


def was_cut_off(call: Call) -> bool:
    """Returns whether the connection or the stream ended before an answer.

    A server that refuses a call and closes its connection looks nearly the same: only gRPC's own words show a loss.
    """
    if call.answered or call.retried:  # a call is sent again only if it was refused for now
        return call.answered and call.code is StatusCode.CANCELLED
    return any(words in call.details.lower() for words in LOST_WORDS)


class Caller(NamedTuple):
    """A shard that calls a machine at rest over a connection of its own. Its calls have no effect."""

    machine: Machine
    shard: Shard
    client: Client

    async def call(self) -> Call:
        """Makes one call."""
        return await self.machine.call(harmless(self.machine), self.shard.next(), client=self.client)

    async def call_until_the_end(self, ended: asyncio.Event) -> tuple[Machine, Call]:
        """Makes calls until one is refused for now, or is cut off, or the provider has ended; returns the last one.

        A server that ends resets its streams: gRPC reads that as CANCELLED.
        """
        while True:
            call = await self.call()
            if not call.answered or call.busy or call.code is StatusCode.CANCELLED or ended.is_set():
                return self.machine, call
            await asyncio.sleep(PAUSE_S)


@behaviour("ROL-1f", machines=1, start=State.IDLE, restarts=True)
async def test_the_provider_ends_although_clients_stay_connected(trial: Trial) -> None:
    before = await look(trial)
    async with trial.connections(2) as clients, watching(clients[0]):
        await stop(trial)
    await back(trial, before, "an orderly stop with open connections")
