"""OPS: an operation has one id, and a retry is answered with that id (contract §3).

A Configure for the cluster that a CONFIGURED machine is bound to is a retry, so it can be sent many times and in many
forms at no cost. Behaviours that need a new machine use one Create.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.core.errors import Unprepared
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.machine import FIRST_POLL
from conformance.rpc.call import cut
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.recording import LEAVING, LIFE, shared_recording

if TYPE_CHECKING:
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial


PAUSE_PER_WINDOW, PAUSE_PER_WAIT = 0.2, 0.02
"""The pause between two retries, as a share of the window and of the wait so far."""


async def wait_for_end(machine: Machine, verb: Verb) -> None:
    """Waits for the end of `verb`'s transition. Raises Unprepared if it is not the edge's target state."""
    watch = await machine.settle(patience=machine.patience.for_verb(verb))
    if watch.state is not EDGES[verb].target:
        raise Unprepared(f"{machine.id} is {watch.state.name} after {verb.value}")


async def check_repeated(trial: Trial, machine: Machine, verb: Verb) -> None:
    """Takes one edge. Checks that repeated calls, in flight and at rest, from any shard, are the same operation."""
    first = await trial.begin(machine, verb)
    await expect.same_operation(first, machine.call(verb))
    await check_repeated_by_another_shard(trial, machine, verb, first)
    await wait_for_end(machine, verb)
    before = await machine.read()
    await check_repeated_by_another_shard(trial, machine, verb, first)
    await expect.unchanged(machine, before, by=f"a retry of {verb.value}")


async def check_repeated_by_another_shard(trial: Trial, machine: Machine, verb: Verb, first: Call) -> None:
    """Checks that the call repeated by another shard is answered with the same operation."""
    again = await machine.call(verb, trial.new_shard().next())
    if not again.fenced:  # if a new shard is fenced, FEN-9 judges it
        await expect.same_operation(first, again)


def check_has_operation_id(call: Call) -> None:
    """Checks that the ack has an operation id (OPS-1)."""
    expect.fact(
        call.operation_id, wanted=f"an operation_id in the ack of {call.rpc}", got="an empty operation_id", calls=[call]
    )


def check_new_operation_id(call: Call, earlier: list[Call]) -> None:
    """Checks that the ack's operation id differs from those of all earlier acks (OPS-3)."""
    same = [other for other in earlier if other.operation_id == call.operation_id]
    expect.fact(
        not same,
        wanted=f"a new operation_id for {call.rpc} of {call.machine_id}",
        got=f"{cut(call.operation_id)!r} again",
        calls=[*same[:1], call],
    )


@behaviour("OPS-1a", watches=LIFE)
async def test_every_ack_has_an_operation_id(trial: Trial) -> None:
    await check_all_have_operation_ids(trial)


@behaviour("OPS-1b", watches=LEAVING)
async def test_every_ack_of_delete_has_an_operation_id(trial: Trial) -> None:
    await check_all_have_operation_ids(trial)


async def check_all_have_operation_ids(trial: Trial) -> None:
    """Checks that each ack of the recording has an operation id, including acks of repeated calls."""
    for ack in (await shared_recording(trial)).acks:
        check_has_operation_id(ack.call)


@behaviour("OPS-2a", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_create_sent_again_is_the_same_operation(trial: Trial) -> None:
    await check_repeated(trial, trial.machine, Verb.CREATE)


@behaviour("OPS-2b", machines=1, start=State.IDLE, transitions=1)
async def test_configure_sent_again_is_the_same_operation(trial: Trial) -> None:
    await check_repeated(trial, trial.machine, Verb.CONFIGURE)


@behaviour("OPS-2c", machines=1, start=State.CONFIGURED, transitions=1)
async def test_drain_sent_again_is_the_same_operation(trial: Trial) -> None:
    await check_repeated(trial, trial.machine, Verb.DRAIN)


@behaviour("OPS-2d", machines=1, start=State.IDLE, transitions=1)
async def test_a_retry_is_known_by_machine_and_target_and_nothing_else(trial: Trial) -> None:
    machine = trial.machine
    first = await trial.drive(machine, Verb.CONFIGURE)
    await expect.same_operation(first, machine.configure(trial.new_shard().token(epoch=3, sequence=7)))
    await expect.same_operation(first, machine.configure(trial.new_shard().next(), blob=b"#!another"))
    await expect.same_operation(first, machine.configure(metadata={"another": "map"}))
    async with trial.connections(1) as [client]:
        await expect.same_operation(first, machine.configure(client=client))
    for _ in range(10):
        await expect.same_operation(first, machine.configure())


@behaviour("OPS-2e", machines=1, start=State.CONFIGURED, transitions=1)
async def test_a_retry_at_rest_starts_nothing(trial: Trial) -> None:
    machine = trial.machine
    before = await machine.read()
    for _ in range(3):
        await machine.configure()
    await expect.unchanged(machine, before, by="retries of Configure", seconds=trial.window)


@behaviour("OPS-2f", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_delete_sent_again_is_the_same_operation(trial: Trial) -> None:
    await check_repeated(trial, trial.machine, Verb.DELETE)


@behaviour("OPS-2g", machines=1, start=State.IDLE, transitions=2)
async def test_retries_on_the_way_do_not_put_off_the_end(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        calls, started = [await trial.begin(machine, verb)], trial.client.now()
        while not state_of((await machine.read()).state).stable:
            waited = trial.client.now() - started
            if waited > machine.patience.for_verb(verb):
                await wait_for_end(machine, verb)  # control: it ends without further calls
                wanted = f"{verb.value} to end while the call is repeated"
                expect.fact(
                    False,
                    wanted=wanted,
                    got=f"no end within {waited:.1f} s of repeated calls, but an end after they stopped",
                    calls=calls[-2:],
                )
            calls.append(await machine.call(verb))
            await asyncio.sleep(max(FIRST_POLL, min(waited, trial.window) * PAUSE_PER_WINDOW, waited * PAUSE_PER_WAIT))
        await trial.bring(machine, EDGES[verb].target)


@behaviour("OPS-3a", machines=2, start=State.IDLE, transitions=4)
async def test_every_transition_has_an_operation_id_of_its_own(trial: Trial) -> None:
    acks: list[Call] = []
    cluster = trial.unique("cluster")
    for machines in (trial.machines, trial.machines[:1]):
        for verb in (Verb.CONFIGURE, Verb.DRAIN):
            pending = [m.configure(cluster=cluster) if verb is Verb.CONFIGURE else m.drain() for m in machines]
            for call in await asyncio.gather(
                *(trial.begin(m, verb, one) for m, one in zip(machines, pending, strict=True))
            ):
                check_new_operation_id(call, acks)
                acks.append(call)
            for machine in machines:
                await wait_for_end(machine, verb)
    for call in acks:
        expect.fact(
            trial.owners(call) == {call.machine_id},
            wanted=f"{cut(call.operation_id)!r} to be an operation of {call.machine_id} only",
            got=f"an operation of {', '.join(sorted(trial.owners(call)))}",
            calls=[call],
        )


@behaviour("OPS-3b", machines=1, start=State.SPECULATIVE, transitions=3, creates=True)
async def test_a_create_after_a_delete_is_a_new_operation_and_happens(trial: Trial) -> None:
    machine = trial.machine
    past = [await trial.drive(machine, Verb.CREATE)]
    past.append(await trial.drive(machine, Verb.DELETE))
    again = await expect.acked(machine.create())
    check_new_operation_id(again, past)
    await expect.settles(machine, Verb.CREATE)


@behaviour("OPS-3c", machines=1, start=State.IDLE, transitions=5, creates=True)
async def test_no_operation_id_comes_back_in_a_later_life(trial: Trial) -> None:
    machine = trial.machine
    past = [call for call in [await machine.create()] if call.ok]
    for verb in (Verb.CONFIGURE, Verb.DRAIN, Verb.DELETE):
        past.append(await trial.drive(machine, verb))
    later = [await trial.begin(machine, Verb.CREATE), await machine.drain()]
    await wait_for_end(machine, Verb.CREATE)
    later += [await machine.drain(), await machine.create()]
    later.append(await trial.drive(machine, Verb.CONFIGURE))
    for call in later:
        if call.ok:
            check_new_operation_id(call, past)


async def check_not_rebound(trial: Trial, machine: Machine, first: Call, cluster: str) -> None:
    """Checks that a Configure for another cluster is refused or is the first operation, and changes nothing (OPS-5)."""
    other = await machine.configure(cluster=trial.unique("other"), metadata={"of": "the other"})
    if other.ok:
        await expect.same_operation(first, other)
    await wait_for_end(machine, Verb.CONFIGURE)
    await expect.stays([machine], State.CONFIGURED, seconds=trial.window)
    shown = await machine.read()
    expect.fact(
        shown.cluster == cluster,
        wanted=f"{machine.id} to stay bound to {cluster!r}",
        got=f"cluster {shown.cluster!r}",
        calls=[first, other],
    )
    if not other.ok:  # OPS-5c judges the metadata of a retry
        expect.echoes(shown, {}, where=f"Get after a refused {other.rpc}")


@behaviour("OPS-5a", machines=1, start=State.CONFIGURED, transitions=1)
async def test_a_bound_machine_is_not_rebound(trial: Trial) -> None:
    machine = trial.machine
    first = await trial.begin(machine, Verb.CONFIGURE)
    repeatable = (await machine.configure()).operation_id == first.operation_id  # if not, OPS-2 judges it
    await check_not_rebound(trial, machine, first, machine.cluster)
    if repeatable:
        await expect.same_operation(first, machine.configure())  # control: the cluster that it is bound to


@behaviour("OPS-5b", machines=1, start=State.IDLE, transitions=2)
async def test_a_machine_that_is_being_bound_is_not_rebound(trial: Trial) -> None:
    first = await trial.begin(trial.machine, Verb.CONFIGURE)
    await check_not_rebound(trial, trial.machine, first, trial.machine.cluster)


@behaviour("OPS-5c", machines=1, start=State.IDLE, transitions=2)
async def test_other_metadata_in_a_retry_does_not_replace_what_is_stored(trial: Trial) -> None:
    machine, stored = trial.machine, {"owner": "first", "only": "first"}
    await trial.begin(machine, Verb.CONFIGURE, machine.configure(metadata=stored))
    await machine.configure(metadata={"owner": "second", "more": "second"})
    await wait_for_end(machine, Verb.CONFIGURE)
    for metadata in ({"owner": "third"}, {}):
        await machine.configure(metadata=metadata)
        expect.echoes(await machine.read(), stored, where="Get after retries, in flight and at rest,")


@behaviour("OPS-5d", machines=1, start=State.CONFIGURED, transitions=2)
async def test_a_drain_with_another_grace_period_is_still_the_same_drain(trial: Trial) -> None:
    machine = trial.machine
    first = await trial.begin(machine, Verb.DRAIN, machine.drain(grace=1))
    for grace in (3600, 2):
        again = await machine.drain(grace=grace)
        if again.ok:
            await expect.same_operation(first, again)
    await expect.settles(machine, Verb.DRAIN)
    await expect.stays([machine], State.IDLE, seconds=trial.window)
