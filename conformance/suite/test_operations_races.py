"""OPS: concurrent calls (contract §3).

Each call of a burst has its own shard, so that none is fenced in any order of arrival; half of the calls use other
connections. A burst whose calls did not overlap proves nothing, and is repeated. Of a burst of calls with one target,
half must be answered; a race for different targets counts only if all calls are, because any could be the winner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.errors import NoAnswer, NotObserved, Unprepared
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.call import answers_of, cut, describe_machine
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from conformance.core.fencing import Token
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

CALLS_PER_BURST = 8
MAX_BURSTS = 3


async def send_burst(
    trial: Trial, call: Callable[[int, Token, Client], Awaitable[Call]], *, count: int = CALLS_PER_BURST
) -> list[Call]:
    """Sends `count` concurrent calls: each from its own shard, half of them over the run's connection."""
    shards = [trial.new_shard() for _ in range(count)]
    async with trial.connections(2) as others:
        clients = [trial.client, others[0], trial.client, others[1]]
        calls = await trial.together(count, lambda n: call(n, shards[n].next(), clients[n % 4]))
    return list(calls)


def overlapped(calls: Sequence[Call]) -> bool:
    """Returns whether at least two calls had been sent when the first one ended."""
    calls = [call for call in calls if call.answered]
    first = min((call.ended for call in calls), default=0.0)
    return sum(call.started < first for call in calls) > 1


async def check_burst(trial: Trial, machine: Machine, verb: Verb) -> bool:
    """Takes one edge by concurrent calls and checks that they are one operation. Returns whether they overlapped."""
    calls = await send_burst(trial, lambda _, token, client: machine.call(verb, token, client=client))
    answered = answers_of(calls)
    if 2 * len(answered) < len(calls):
        raise NoAnswer(f"only {len(answered)} of {len(calls)} concurrent {verb.value} calls were answered")
    accepted = [call for call in answered if call.ok]
    if not accepted:
        raise Unprepared(f"none of {len(calls)} concurrent {verb.value} calls was accepted: {calls[0].outcome()}")
    ids = sorted({call.operation_id for call in accepted})
    expect.fact(
        len(ids) == 1,
        wanted=f"one operation_id for {len(calls)} concurrent {verb.value} calls",
        got=f"{len(ids)}: {', '.join(cut(each) for each in ids[:4])}",
        calls=accepted[:4],
    )
    watch = await machine.settle(patience=machine.patience.for_verb(verb))
    if watch.state is not EDGES[verb].target:
        raise Unprepared(f"{machine.id} is {watch.state.name} after {verb.value}")
    await expect.unchanged(machine, watch.machine, by="the other calls of the burst", seconds=trial.window)
    return overlapped(calls)


@behaviour("OPS-4a", machines=1, start=State.SPECULATIVE, transitions=2, creates=True)
async def test_creates_at_once_are_one_operation(trial: Trial) -> None:
    await check_one_burst(trial, Verb.CREATE)


@behaviour("OPS-4e", machines=1, start=State.IDLE, transitions=2, deletes=True)
async def test_deletes_at_once_are_one_operation(trial: Trial) -> None:
    await check_one_burst(trial, Verb.DELETE)


async def check_one_burst(trial: Trial, verb: Verb) -> None:
    """Judges one burst of a verb that costs a machine. Raises NotObserved if the calls did not overlap."""
    if not await check_burst(trial, trial.machine, verb):
        raise NotObserved("the calls of the burst did not overlap")


@behaviour("OPS-4b", machines=1, start=State.IDLE, transitions=2)
async def test_configures_at_once_are_one_operation(trial: Trial) -> None:
    await check_bursts_until_overlap(trial, Verb.CONFIGURE)


@behaviour("OPS-4c", machines=1, start=State.CONFIGURED, transitions=2)
async def test_drains_at_once_are_one_operation(trial: Trial) -> None:
    await check_bursts_until_overlap(trial, Verb.DRAIN)


async def check_bursts_until_overlap(trial: Trial, verb: Verb) -> None:
    """Judges bursts of one verb until the calls of one overlapped. Raises NotObserved if they never did."""
    for _ in range(MAX_BURSTS):
        await trial.bring(trial.machine, EDGES[verb].source)
        if await check_burst(trial, trial.machine, verb):
            return
    raise NotObserved(f"the calls of {MAX_BURSTS} bursts did not overlap")


@behaviour("OPS-4d", machines=1, start=State.CONFIGURED)
async def test_retries_at_once_are_the_same_operation(trial: Trial) -> None:
    machine = trial.machine
    first = await trial.begin(machine, Verb.CONFIGURE)
    for _ in range(MAX_BURSTS):
        calls = await send_burst(trial, lambda _, token, client: machine.configure(token, client=client), count=16)
        for call in calls:
            if call.ok:
                await expect.same_operation(first, call)
        if overlapped(calls):
            return
    raise NotObserved(f"the calls of {MAX_BURSTS} bursts did not overlap")


def check_at_most_one(calls: Sequence[Call]) -> list[Call]:
    """Checks that the accepted calls are at most one operation, and returns them (OPS-6)."""
    accepted = [call for call in calls if call.ok]
    ids = {(call.rpc, call.operation_id) for call in accepted}
    expect.fact(
        len(ids) <= 1,
        wanted="at most one of the racing calls to start",
        got=f"{len(ids)} operations: {', '.join(sorted(f'{rpc} {cut(each)}' for rpc, each in ids)[:4])}",
        calls=accepted[:4],
    )
    return accepted


@behaviour("OPS-6a", machines=1, start=State.IDLE, transitions=4)
async def test_of_configures_for_different_clusters_one_wins(trial: Trial) -> None:
    machine = trial.machine

    def configure(_: int, token: Token, client: Client) -> Awaitable[Call]:
        cluster = trial.unique("cluster")
        return machine.configure(token, cluster=cluster, metadata={"of": cluster}, client=client)

    for _ in range(2):
        await trial.bring(machine, State.IDLE)
        calls = await send_burst(trial, configure)
        accepted = check_at_most_one(calls)
        shown = (await machine.settle(patience=machine.patience.configure)).machine
        if not accepted:
            expect.fact(
                state_of(shown.state) is State.IDLE, wanted="IDLE, as no call was accepted", got=describe_machine(shown)
            )
            continue
        # If several calls were answered with the one operation, its snapshot names the cluster, unless it is empty.
        asked = {call.request.cluster_id for call in accepted}
        names = asked if len(accepted) == 1 else {call.response.machine.cluster for call in accepted} - {""}
        expect.fact(
            names == {shown.cluster} or (not names and shown.cluster in asked),
            wanted=f"{machine.id} to be bound to the cluster of the accepted call, "
            + " or ".join(sorted(names or asked)),
            got=describe_machine(shown),
            calls=accepted[:2],
        )
        if len(accepted) == 1:  # OPS-5c judges the metadata of a retry
            expect.echoes(shown, {"of": shown.cluster}, where="Get after the race")
        await expect.unchanged(machine, shown, by="the refused calls of the race", seconds=trial.window)
        if overlapped(calls):
            return
    raise NotObserved("none of the concurrent calls was accepted, or they did not overlap")


@behaviour("OPS-6b", machines=1, start=State.IDLE, transitions=2)
async def test_of_configure_and_delete_one_wins(trial: Trial) -> None:
    machine = trial.machine

    def send(number: int, token: Token, client: Client) -> Awaitable[Call]:
        return machine.call((Verb.CONFIGURE, Verb.DELETE)[number // 2 % 2], token, client=client)

    calls = await send_burst(trial, send)
    accepted = check_at_most_one(calls)
    wanted = EDGES[Verb(accepted[0].rpc)].target if accepted else State.IDLE
    shown = (await machine.settle()).machine
    expect.fact(
        state_of(shown.state) is wanted and shown.cluster == (machine.cluster if wanted is State.CONFIGURED else ""),
        wanted=f"{machine.id} to end {wanted.name}, "
        + ("the target of the accepted call" if accepted else "as no call was accepted"),
        got=describe_machine(shown),
        calls=accepted[:2],
    )
    await expect.stays([machine], wanted, seconds=trial.window)
    if not (accepted and overlapped(calls)):
        raise NotObserved("none of the concurrent calls was accepted, or they did not overlap")


@behaviour("OPS-6c", machines=1, start=State.CONFIGURED, transitions=2)
async def test_of_drain_and_configure_for_another_cluster_no_mixture_comes(trial: Trial) -> None:
    machine, other = trial.machine, trial.unique("other")

    def send(number: int, token: Token, client: Client) -> Awaitable[Call]:
        if number % 4 in (0, 3):
            return machine.drain(token, client=client)
        return machine.configure(token, cluster=other, client=client)

    calls = await send_burst(trial, send)
    calls_overlapped = overlapped(calls)
    calls.append(await machine.configure(cluster=other))  # and one that is sent after all others
    shown = (await machine.settle()).machine
    drained = any(call.ok for call in calls if call.rpc == Verb.DRAIN)
    configures = [call for call in calls if call.ok and call.rpc == Verb.CONFIGURE]
    bound_again = any(call.response.machine.cluster in ("", other) for call in configures)  # CONFIGURING may hide it
    # A Drain that takes no time leaves the machine IDLE, and a Configure after it may bind it again.
    ends = {(State.IDLE, "")} if drained else {(State.CONFIGURED, machine.cluster)}
    ends |= {(State.CONFIGURED, other)} if drained and bound_again else set()
    expect.fact(
        (state_of(shown.state), shown.cluster) in ends,
        wanted=f"{machine.id} to end as "
        + " or ".join(f"{state.name} {cluster}".strip() for state, cluster in sorted(ends)),
        got=describe_machine(shown),
        calls=[call for call in calls if call.ok][:4],
    )
    await expect.stays([machine], State(shown.state), seconds=trial.window)
    if not calls_overlapped:
        raise NotObserved("the concurrent calls did not overlap")
