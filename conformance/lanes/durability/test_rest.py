"""DUR-1, DUR-2 and DUR-4: what rests, marks, operation ids and new shards after a kill."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import Unsupported, Violation
from conformance.core.fencing import Token
from conformance.core.lifecycle import State, Verb
from conformance.fleet.model.marks import PASSED
from conformance.lanes.durability.kills import AT_REST, LastClient, kill
from conformance.lanes.durability.moments import Moment, Phase
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.outcome import check_end, check_state
from conformance.testkit.restarted import METADATA, Edge, back, harmless, look
from conformance.testkit.snapshot import changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

OLD_MARKS: Final = 12
"""The number of earlier marks that are asked again."""
BURST: Final = 4
"""The number of machines in a burst."""
ERROR_CLUSTER: Final = "fault-error"
"""The cluster that makes a Configure fail (contract §9)."""


async def bound_with(trial: Trial, machine: Machine, metadata: dict[str, str]) -> Call:
    """Binds an IDLE machine to a new cluster."""
    return await trial.bind(machine, cluster=trial.unique("rests"), metadata=metadata)


@behaviour("DUR-1a", machines=2, start=State.IDLE, transitions=2, restarts=True)
async def test_the_fleet_at_rest_is_as_it_was(trial: Trial) -> None:
    idle, bound = trial.machines
    await look(trial)
    await bound_with(trial, bound, METADATA)
    for _ in range(2):
        before = [await machine.read() for machine in (idle, bound)]
        await kill(trial, whole=True)
        for machine, was in zip((idle, bound), before, strict=True):
            expect.same(was, await machine.read(), what=f"{machine.id} after {AT_REST}")


@behaviour("DUR-1b", machines=2, start=State.IDLE, bound=1, transitions=1, restarts=True)
async def test_marks_outlive_a_kill(trial: Trial) -> None:
    places = trial.machines
    shards = [trial.new_shard() for _ in range(4)]
    marks: list[tuple[Machine, Verb, Token]] = []
    for number, shard in enumerate(shards):
        for place, machine in enumerate(places):
            token = shard.token(epoch=3 + number, sequence=40 + place)
            verb = harmless(machine)
            if (await expect.answered(machine.call(verb, token))).code in PASSED:
                marks.append((machine, verb, token))
    old = [(machine, verb, mark.token) for machine, verb, mark in trial.oldest_marks(OLD_MARKS)]
    await kill(trial)
    for machine, verb, token in [*marks, *old]:
        await expect.fenced(machine.call(verb, token))
    for machine, verb, token in marks:
        await expect.fenced(machine.call(verb, Token(token.shard, token.epoch - 1, token.sequence + 100)))
        await expect.fenced(machine.call(verb, Token(token.shard, token.epoch, token.sequence - 30)))
    for shard in shards:
        token = shard.token(epoch=20, sequence=1)
        await expect.accepted(places[0].call(harmless(places[0]), token))


@behaviour("DUR-1c", machines=2, start=State.IDLE, transitions=3, restarts=True)
async def test_operation_ids_of_what_rests_outlive_two_kills(trial: Trial) -> None:
    drained, bound = trial.machines
    await bound_with(trial, drained, {})
    edges = [Edge.of(trial, drained, Verb.DRAIN), Edge.of(trial, bound, Verb.CONFIGURE)]
    sent = [(edge, await trial.drive(edge.machine, edge.verb, edge.send())) for edge in edges]
    for _ in range(2):
        await kill(trial)
        for edge, first in sent:
            await expect.same_operation(first, edge.send())


@behaviour("DUR-1d", machines=2, start=State.IDLE, bound=1, transitions=1, restarts=True)
async def test_a_call_refused_immediately_before_a_kill_has_moved_the_mark(trial: Trial) -> None:
    idle, bound = trial.machines
    calls = [(idle, Verb.DRAIN), (bound, Verb.CREATE), *([(bound, Verb.DELETE)] if trial.found.delete else [])]
    for machine, verb in calls:
        shard = trial.new_shard()
        await expect.answered(machine.call(verb, shard.token(epoch=2, sequence=1)))
        before = await look(trial)
        last = await last_call(trial, machine, verb, shard.token(epoch=2, sequence=5))
        await back(trial, before, f"a kill immediately after the answer to {verb.value}")
        if last.answered and last.code in PASSED:
            await expect.fenced(machine.call(verb, shard.token(epoch=2, sequence=5)))
            await expect.fenced(machine.call(verb, shard.token(epoch=2, sequence=3)))
        await expect.accepted(machine.call(verb, shard.token(epoch=2, sequence=6)))


async def last_call(trial: Trial, machine: Machine, verb: Verb, token: Token) -> Call:
    """Makes a call, and kills the provider as soon as it is answered."""
    client = LastClient(trial.client, trial.restarts.kill)
    try:
        await client.wait_until_connected()
        return await machine.call(verb, token, client=client)
    finally:
        await client.close()


@behaviour("DUR-1g", machines=BURST, start=State.IDLE, transitions=3, restarts=True)
async def test_what_was_acknowledged_in_a_burst_before_a_kill_holds(trial: Trial) -> None:
    """Machines are bound together, and drained together; each time the kill comes after some of the answers."""
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edges = [Edge.of(trial, machine, verb) for machine in trial.machines]
        before = {machine.id: await machine.read() for machine in trial.machines}
        fleet = await look(trial)
        calls = await burst(trial, edges, answers=trial.random.randrange(2, BURST + 1))
        await back(trial, fleet, f"a kill in a burst of {verb.value}", moving=before.keys())
        await judge_burst(trial, edges, calls, before)


async def burst(trial: Trial, edges: Sequence[Edge], *, answers: int) -> Sequence[Call]:
    """Sends the calls together, and kills the provider as soon as so many of them are answered."""
    left = answers

    async def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            await trial.restarts.kill()

    clients = [LastClient(trial.client, count) for _ in edges]
    try:
        await asyncio.gather(*(client.wait_until_connected() for client in clients))
        return await trial.together(len(edges), lambda number: edges[number].send(client=clients[number]))
    finally:
        await asyncio.gather(*(client.close() for client in clients))


async def judge_burst(
    trial: Trial, edges: Sequence[Edge], calls: Sequence[Call], before: dict[str, pb.Machine]
) -> None:
    """Judges every machine of a burst, and brings it to the far end of its edge."""
    moment = Moment(verb=edges[0].verb, phase=Phase.AFTER_ACK)
    for edge, call in zip(edges, calls, strict=True):
        if call.answered_ok:
            await expect.fenced(edge.send(call.token))
    for edge in edges:
        machine = edge.machine
        result = await machine.settle(patience=machine.patience.for_verb(edge.verb))
        expect.fact(result.state.stable, wanted=f"{machine.id} to come to rest after {moment}", got=result.state.name)
        check_state(machine, moment, result.machine, at_end=False)
        if result.state is State.FAILED:
            await trial.replace(machine, State.CONFIGURED if edge.verb is Verb.CONFIGURE else State.IDLE)
            continue
        check_end(edge, moment, before[machine.id], result.machine)
        if edge.verb is Verb.CONFIGURE and result.state is State.IDLE:
            await expect.acked(edge.send())
            await expect.settles(machine, edge.verb)


@behaviour("DUR-1h", machines=2, start=State.IDLE, transitions=2, restarts=True)
async def test_kills_during_the_start_lose_nothing(trial: Trial) -> None:
    idle, bound = trial.machines
    configured = await bound_with(trial, bound, METADATA)
    shard = trial.new_shard()
    marked = await expect.answered(idle.drain(shard.token(epoch=4, sequence=4)))
    was = await bound.read()
    before = await look(trial)
    await trial.restarts.kill()
    began = trial.client.now()
    await back(trial, before, AT_REST)
    took = trial.client.now() - began
    for share in (0.1, 0.5, 0.9):
        await trial.restarts.kill()
        await trial.restarts.begin_start()
        await asyncio.sleep(took * share * trial.random.uniform(0.5, 1.0))
    await trial.restarts.kill()
    await back(trial, before, "kills during the start")
    expect.same(was, await bound.read(), what=f"{bound.id} after kills during the start")
    if marked.code in PASSED:
        await expect.fenced(idle.drain(shard.token(epoch=4, sequence=4)))
    await expect.same_operation(
        configured, bound.configure(cluster=configured.request.cluster_id, metadata=dict(METADATA))
    )


@behaviour("DUR-1i", machines=1, start=State.IDLE, transitions=1, restarts=True)
async def test_a_failed_machine_rests_or_is_cleaned_up(trial: Trial) -> None:
    machine = trial.machine
    await trial.begin(machine, Verb.CONFIGURE, machine.configure(cluster=ERROR_CLUSTER))
    result = await machine.settle()
    if result.state is not State.FAILED:
        await trial.bring(machine, State.IDLE)
        raise Unsupported("no machine fails: the provider has no trigger for it (contract §9)")
    before = result.machine
    await kill(trial)
    shown = await machine.read()
    for found in changes(before, shown):
        raise Violation(f"{found.wanted}, after {AT_REST}", found.got)


@behaviour("DUR-2a", machines=1, start=State.IDLE, transitions=4, restarts=True)
async def test_new_operations_have_new_ids(trial: Trial) -> None:
    machine = trial.machine
    for _ in range(2):
        await bound_with(trial, machine, {})
        await kill(trial)
        for verb in (Verb.DRAIN, Verb.CONFIGURE, Verb.DRAIN):
            call = await trial.drive(machine, verb)
            expect.fact(
                not trial.model.has_used_twice(call.operation_id),
                wanted=f"a new operation id for {verb.value} of {machine.id} after {AT_REST}",
                got=f"{call.operation_id!r}, which was used before",
                calls=[call],
            )


@behaviour("DUR-4a", machines=1, start=State.IDLE, restarts=True)
async def test_new_shards_start_low_and_old_tokens_stay_fenced(trial: Trial) -> None:
    machine, old = trial.machine, trial.new_shard()
    high = old.token(epoch=1_000, sequence=1_000)
    passed = (await expect.answered(machine.drain(high))).code in PASSED
    await kill(trial)
    for numbers in ((1, 1), (0, 1), (1, 0)):
        await expect.accepted(machine.drain(trial.new_shard().token_of(numbers)))
    if passed:
        await expect.fenced(machine.drain(old.token(epoch=999, sequence=2_000)))
    await expect.accepted(machine.drain(old.token(epoch=1_000, sequence=1_001)))
