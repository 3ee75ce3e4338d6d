"""ROL-4: several replicas of one fleet behind one address."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NotObserved, StillRunning, TargetError, Unsupported, Violation
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.model.marks import PASSED
from conformance.lanes.rollout.stops import judge_all
from conformance.rpc.call import answers_of
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.restarted import Edge, harmless, look
from conformance.testkit.snapshot import differences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.snapshot import Snapshot
    from conformance.testkit.trial import Trial

ROLLING: Final = "a rolling restart"
NEXT: Final = {State.IDLE: Verb.CONFIGURE, State.CONFIGURED: Verb.DRAIN}
PAUSE_S: Final = 0.05
"""The pause between two calls of the load."""
RETRIES_S: Final = (0.1, 0.4, 1.0)
"""The pauses before a call of the load is repeated. One that fails nevertheless has failed for its caller too."""


async def roll(trial: Trial, number: int) -> None:
    """Stops one replica in an orderly way and starts it again, while the others go on. Raises NotObserved."""
    try:
        await trial.restarts.stop_replica(number)
        await trial.restarts.start_replica(number)
    except (StillRunning, TargetError) as error:
        raise NotObserved(f"replica {number + 1}: {error.message}") from error


@asynccontextmanager
async def direct(trial: Trial) -> AsyncIterator[Sequence[Client]]:
    """Yields a client of each replica that serves, without the balancer. Raises Unsupported if there is only one."""
    replicas = trial.restarts.replicas
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(len(replicas.members)):
            if await replicas.look(number):
                client = await stack.enter_async_context(trial.client.another(target=replicas.target_of(number)))
                if (await client.list(cap=1)).answered_ok:
                    clients.append(client)
        if len(clients) < 2:
            raise Unsupported("only one replica serves at a time")
        yield clients


async def as_before(trial: Trial, before: Snapshot, when: str, *, moving: Collection[str] = ()) -> None:
    """Expects the machines of the run as they were, except those that are moving."""
    own, after = trial.own_machines(), await look(trial)
    for found in differences(before, after, own=own, moving=moving):
        if found.machine in own:
            raise Violation(f"{found.wanted}, after {when}", found.got)


@behaviour("ROL-4a", machines=3, start=State.IDLE, bound=1, transitions=4, restarts=True)
async def test_a_rolling_restart_loses_nothing(trial: Trial) -> None:
    machines = list(trial.machines)
    for number in range(len(trial.restarts.replicas.members)):
        *driven, resting = machines[number % 3 :] + machines[: number % 3]
        edges = [Edge.of(trial, machine, NEXT[machine.state]) for machine in driven]
        seen, before = {machine.id: await machine.read() for machine in driven}, await look(trial)
        async with trial.connections(len(edges)) as clients:
            sent = [(edge, await edge.send(client=client)) for edge, client in zip(edges, clients, strict=True)]
            await roll(trial, number)
        await as_before(trial, before, ROLLING, moving=seen.keys())
        machines = [*await judge_all(trial, sent, seen, ROLLING), resting]


@behaviour("ROL-4b", machines=2, start=State.IDLE, bound=1, transitions=1, restarts=True)
async def test_no_two_replicas_pass_the_same_token(trial: Trial) -> None:
    async with direct(trial) as clients:
        for number in range(len(clients)):
            order = [*clients[number:], *clients[:number]]
            for machine in trial.machines:
                await one_mark(trial, machine, order)
        for machine in trial.machines:
            await one_race(trial, machine, clients)


async def one_race(trial: Trial, machine: Machine, clients: Sequence[Client]) -> None:
    """Sends one token to all replicas at the same moment, and expects at most one call to pass."""
    token, verb, count = trial.new_shard().token(epoch=1, sequence=1), harmless(machine), len(clients)
    calls = await trial.together(2 * count, lambda number: machine.call(verb, token, client=clients[number % count]))
    passed = [call for call in calls if call.answered and call.code in PASSED]
    expect.fact(
        len(passed) <= 1,
        wanted=f"one of {len(calls)} concurrent calls with token {token} to pass the fence over all replicas",
        got=f"{len(passed)} that passed",
        calls=passed,
    )


async def one_mark(trial: Trial, machine: Machine, order: Sequence[Client]) -> None:
    """Raises a mark at the first replica, and expects the others to know it; then at each of the others in turn."""
    shard, verb = trial.new_shard(), harmless(machine)
    for step, client in enumerate(order):
        token = shard.token(epoch=2, sequence=10 + step)
        first = await expect.answered(machine.call(verb, token, client=client))
        if first.busy:
            continue
        await expect.accepted(first)
        for other in order:
            for old in (token, shard.token(epoch=1, sequence=50), shard.token(epoch=2, sequence=9 + step)):
                call = await expect.answered(machine.call(verb, old, client=other))
                if not call.busy:
                    await expect.fenced(call)


@behaviour("ROL-4c", machines=2, start=State.IDLE, transitions=6, restarts=True)
async def test_all_replicas_know_an_operation_as_soon_as_it_is_acknowledged(trial: Trial) -> None:
    async with direct(trial) as clients:
        for number in range(len(clients)):
            edges = [Edge.of(trial, machine, NEXT[machine.state]) for machine in trial.machines]
            for place, edge in enumerate(edges):
                call = await known_to_all(edge, clients[(number + place) % len(clients)], clients)
                expect.fact(
                    not trial.model.has_used_twice(call.operation_id),
                    wanted=f"an operation of {edge.machine.id} at one replica to have an id that no other one has used",
                    got=f"{call.operation_id!r}, which was used before",
                    calls=[call],
                )
            for edge in edges:
                await settled_for_all(edge, clients)


async def known_to_all(edge: Edge, client: Client, clients: Sequence[Client]) -> Call:
    """Starts a transition at one replica, and expects all of them to show it and to know its operation id."""
    arrow, machine = EDGES[edge.verb], edge.machine
    ack = await expect.acked(edge.send(client=client))
    for other in clients:
        call = await other.get(machine.id)
        if not call.answered_ok:
            continue
        shown = state_of(call.response.state)
        expect.fact(
            shown in (arrow.via, arrow.target, State.FAILED),
            wanted=f"{machine.id} to be {arrow.via.name} or {arrow.target.name} at every replica once one has"
            f" acknowledged {edge.verb.value}",
            got=shown.name,
            calls=[ack, call],
        )
        again = await expect.answered(edge.send(client=other))
        expect.fact(
            again.busy or (again.ok and again.operation_id == ack.operation_id),
            wanted=f"the repeated {edge.verb.value} of {machine.id} to have operation id {ack.operation_id!r} at every"
            " replica",
            got=again.outcome(),
            calls=[ack, again],
        )
    return ack


async def settled_for_all(edge: Edge, clients: Sequence[Client]) -> None:
    """Waits for the end of a transition, and expects all replicas to show the machine in the same way."""
    result = await expect.settles(edge.machine, edge.verb)
    for client in clients:
        call = await client.get(edge.machine.id)
        if call.answered_ok:
            expect.same(result.machine, call.response, what=f"{edge.machine.id} at every replica")


@behaviour("ROL-4d", machines=2, start=State.IDLE, bound=1, transitions=2, restarts=True)
async def test_no_call_fails_in_a_rolling_restart(trial: Trial) -> None:
    ended = asyncio.Event()
    load = asyncio.ensure_future(failed_calls(trial, ended))
    try:
        for number in range(len(trial.restarts.replicas.members)):
            await roll(trial, number)
    finally:
        ended.set()
        await asyncio.wait({load})
    failed = load.result()
    if failed:
        raise Violation(
            f"every call during {ROLLING} to be answered, at the latest when it is repeated",
            f"{failed[0].rpc} answered {failed[0].outcome()}, and so were {len(RETRIES_S)} repetitions",
            calls=failed[:1],
        )


async def failed_calls(trial: Trial, ended: asyncio.Event) -> Sequence[Call]:
    """Calls over new connections until it is told to end; returns the calls that failed in spite of repetitions."""
    failed = []
    while not ended.is_set():
        for machine in trial.machines:
            for verb in (None, harmless(machine)):
                call = await one_call(trial, machine, verb)
                if not call.answered or call.busy:
                    failed.append(call)
        await asyncio.sleep(PAUSE_S)
    return failed


async def one_call(trial: Trial, machine: Machine, verb: Verb | None) -> Call:
    """Makes one call over a new connection: a Get, or a mutating call without an effect. Repeats one that failed."""
    shard = trial.new_shard()
    for pause in (*RETRIES_S, 0.0):
        async with trial.client.another() as client:
            call = await (client.get(machine.id) if verb is None else machine.call(verb, shard.next(), client=client))
        answers_of([call])  # whether it was answered is what is judged
        if call.answered and not call.busy:
            break
        await asyncio.sleep(pause)
    return call
