"""OPS: calls that arrive at the same moment (contract §3).

Every call of a burst comes from a shard of its own, so that no order of arrival is fenced, and some of them over
connections of their own. A burst whose calls did not overlap proves nothing, and is tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.errors import NotObserved, Unprepared
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.call import cut, describe_machine
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from conformance.core.fencing import Token
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

CALLS = 8
ATTEMPTS = 3


async def burst(
    trial: Trial, ask: Callable[[int, Token, Client], Awaitable[Call]], *, count: int = CALLS
) -> list[Call]:
    """`count` calls at once: each from its own shard, half of them over the run's connection."""
    shards = [trial.new_shard() for _ in range(count)]
    async with trial.connections(2) as others:
        clients = [trial.client, others[0], trial.client, others[1]]
        calls = await trial.together(count, lambda n: ask(n, shards[n].next(), clients[n % 4]))
    return list(calls)


def overlapped(calls: Sequence[Call]) -> bool:
    """Whether at least one more call was under way when the first one ended."""
    first = min(call.ended for call in calls)
    return sum(call.started < first for call in calls) > 1


async def at_once(trial: Trial, machine: Machine, verb: Verb) -> bool:
    """Take one edge by many calls; judge that they were one operation. Returns whether they overlapped."""
    calls = await burst(trial, lambda _, token, client: machine.call(verb, token, client=client))
    won = [call for call in calls if call.ok]
    if not won:
        raise Unprepared(f"none of {len(calls)} calls of {verb.value} at once was accepted: {calls[0].outcome()}")
    ids = sorted({call.operation_id for call in won})
    expect.fact(
        len(ids) == 1,
        wanted=f"one operation_id for {len(calls)} calls of {verb.value} at once",
        got=f"{len(ids)}: {', '.join(cut(each) for each in ids[:4])}",
        calls=won[:4],
    )
    watch = await machine.settle(patience=machine.patience.for_verb(verb))
    if watch.state is not EDGES[verb].target:
        raise Unprepared(f"{machine.id} is {watch.state.name} after {verb.value}")
    await expect.unchanged(machine, watch.machine, by="the rest of the burst", seconds=trial.window)
    return overlapped(calls)


@behaviour("OPS-4a", machines=1, start=State.SPECULATIVE, transitions=2, creates=True)
async def test_creates_at_once_are_one_operation(trial: Trial) -> None:
    await overlapped_once(trial, Verb.CREATE)


@behaviour("OPS-4e", machines=1, start=State.IDLE, transitions=2, deletes=True)
async def test_deletes_at_once_are_one_operation(trial: Trial) -> None:
    await overlapped_once(trial, Verb.DELETE)


async def overlapped_once(trial: Trial, verb: Verb) -> None:
    """One burst of a verb that costs a machine."""
    if not await at_once(trial, trial.machine, verb):
        raise NotObserved("the calls of a burst did not overlap")


@behaviour("OPS-4b", machines=1, start=State.IDLE, transitions=2)
async def test_configures_at_once_are_one_operation(trial: Trial) -> None:
    await until_overlapped(trial, Verb.CONFIGURE)


@behaviour("OPS-4c", machines=1, start=State.CONFIGURED, transitions=2)
async def test_drains_at_once_are_one_operation(trial: Trial) -> None:
    await until_overlapped(trial, Verb.DRAIN)


async def until_overlapped(trial: Trial, verb: Verb) -> None:
    """Bursts of one verb, from its source each, until one really was one."""
    for _ in range(ATTEMPTS):
        await trial.bring(trial.machine, EDGES[verb].source)
        if await at_once(trial, trial.machine, verb):
            return
    raise NotObserved(f"the calls of {ATTEMPTS} bursts did not overlap")


@behaviour("OPS-4d", machines=1, start=State.CONFIGURED)
async def test_retries_at_once_are_the_same_operation(trial: Trial) -> None:
    machine = trial.machine
    first = await trial.begin(machine, Verb.CONFIGURE)
    for _ in range(ATTEMPTS):
        calls = await burst(trial, lambda _, token, client: machine.configure(token, client=client), count=16)
        for call in calls:
            if call.ok:
                await expect.same_operation(first, call)
        if overlapped(calls):
            return
    raise NotObserved(f"the calls of {ATTEMPTS} bursts did not overlap")


def one_at_most(calls: Sequence[Call]) -> list[Call]:
    """Those that were accepted, which are one operation at most (OPS-6)."""
    won = [call for call in calls if call.ok]
    ids = {(call.rpc, call.operation_id) for call in won}
    expect.fact(
        len(ids) <= 1,
        wanted="at most one of the racing calls to start",
        got=f"{len(ids)} operations: {', '.join(sorted(f'{rpc} {cut(each)}' for rpc, each in ids)[:4])}",
        calls=won[:4],
    )
    return won


@behaviour("OPS-6a", machines=1, start=State.IDLE, transitions=4)
async def test_of_configures_for_different_clusters_one_wins(trial: Trial) -> None:
    machine = trial.machine

    def ask(_: int, token: Token, client: Client) -> Awaitable[Call]:
        cluster = trial.unique("cluster")
        return machine.configure(token, cluster=cluster, metadata={"of": cluster}, client=client)

    for _ in range(2):
        await trial.bring(machine, State.IDLE)
        calls = await burst(trial, ask)
        won = one_at_most(calls)
        shown = (await machine.settle(patience=machine.patience.configure)).machine
        if not won:
            expect.fact(state_of(shown.state) is State.IDLE, wanted="IDLE, as no call won", got=describe_machine(shown))
            continue
        # Where several are answered with the one operation, its snapshot names the cluster.
        names = {won[0].request.cluster_id} if len(won) == 1 else {call.response.machine.cluster for call in won}
        expect.fact(
            names == {shown.cluster},
            wanted=f"{machine.id} to be bound to the winner's cluster, {' or '.join(sorted(names))}",
            got=describe_machine(shown),
            calls=won[:2],
        )
        if len(won) == 1:  # what a retry's metadata does is OPS-5c's to judge
            expect.echoes(shown, {"of": shown.cluster}, where="Get after the race")
        await expect.unchanged(machine, shown, by="those who lost the race", seconds=trial.window)
        if overlapped(calls):
            return
    raise NotObserved("of the calls at once none was accepted, or they did not overlap")


@behaviour("OPS-6b", machines=1, start=State.IDLE, transitions=2)
async def test_of_configure_and_delete_one_wins(trial: Trial) -> None:
    machine = trial.machine

    def ask(number: int, token: Token, client: Client) -> Awaitable[Call]:
        return machine.call((Verb.CONFIGURE, Verb.DELETE)[number // 2 % 2], token, client=client)

    calls = await burst(trial, ask)
    won = one_at_most(calls)
    wanted = EDGES[Verb(won[0].rpc)].target if won else State.IDLE
    shown = (await machine.settle()).machine
    expect.fact(
        state_of(shown.state) is wanted and shown.cluster == (machine.cluster if wanted is State.CONFIGURED else ""),
        wanted=f"{machine.id} to end {wanted.name}, where the call that won leads",
        got=describe_machine(shown),
        calls=won[:2],
    )
    await expect.stays([machine], wanted, seconds=trial.window)
    if not (won and overlapped(calls)):
        raise NotObserved("of the calls at once none was accepted, or they did not overlap")


@behaviour("OPS-6c", machines=1, start=State.CONFIGURED, transitions=2)
async def test_of_drain_and_configure_for_another_cluster_no_mixture_comes(trial: Trial) -> None:
    machine, other = trial.machine, trial.unique("other")

    def ask(number: int, token: Token, client: Client) -> Awaitable[Call]:
        if number % 4 in (0, 3):
            return machine.drain(token, client=client)
        return machine.configure(token, cluster=other, client=client)

    calls = await burst(trial, ask)
    seen = overlapped(calls)
    calls.append(await machine.configure(cluster=other))  # and one that surely comes after
    shown = (await machine.settle()).machine
    drained = any(call.ok for call in calls if call.rpc == Verb.DRAIN)
    rebound = any(call.ok and call.response.machine.cluster == other for call in calls)
    # A Drain that takes no time leaves an IDLE machine, and the Configure after it is a call like any other.
    ends = {(State.IDLE, "")} if drained else {(State.CONFIGURED, machine.cluster)}
    ends |= {(State.CONFIGURED, other)} if drained and rebound else set()
    expect.fact(
        (state_of(shown.state), shown.cluster) in ends,
        wanted=f"{machine.id} to end as "
        + " or ".join(f"{state.name} {cluster}".strip() for state, cluster in sorted(ends)),
        got=describe_machine(shown),
        calls=[call for call in calls if call.ok][:4],
    )
    await expect.stays([machine], State(shown.state), seconds=trial.window)
    if not seen:
        raise NotObserved("the calls did not overlap")
