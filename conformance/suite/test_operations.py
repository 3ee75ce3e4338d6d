"""OPS: an operation has one id, and whoever asks for it again is told that id (contract §3).

A Configure for the cluster that a CONFIGURED machine is bound to is a retry: it costs nothing to send it as often
and in as many ways as one likes. What only shows over a life of the slot takes one Create.
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


OFTEN, SELDOM = 0.2, 0.02
"""The time between one retry and the next: of the window, and of the wait so far."""


async def ends(machine: Machine, verb: Verb) -> None:
    """Wait for the end of `verb`'s transition; raises Unprepared where it is another than the edge's."""
    watch = await machine.settle(patience=machine.patience.for_verb(verb))
    if watch.state is not EDGES[verb].target:
        raise Unprepared(f"{machine.id} is {watch.state.name} after {verb.value}")


async def sent_again(trial: Trial, machine: Machine, verb: Verb) -> None:
    """Take one edge; the same call again is the same operation, on the way and at the end, whoever sends it."""
    first = await trial.begin(machine, verb)
    await expect.same_operation(first, machine.call(verb))
    await same_for_another(trial, machine, verb, first)
    await ends(machine, verb)
    before = await machine.read()
    await same_for_another(trial, machine, verb, first)
    await expect.unchanged(machine, before, by=f"a retry of {verb.value}")


async def same_for_another(trial: Trial, machine: Machine, verb: Verb, first: Call) -> None:
    """Another shard that repeats the call is told of the same operation."""
    again = await machine.call(verb, trial.new_shard().next())
    if not again.fenced:  # where a new shard is, that is FEN-9's matter
        await expect.same_operation(first, again)


def named(call: Call) -> None:
    """The ack has an operation id (OPS-1)."""
    expect.fact(call.operation_id, wanted=f"an operation_id in the ack of {call.rpc}", got="none", calls=[call])


def unlike(call: Call, earlier: list[Call]) -> None:
    """The ack's operation id is none of those before it (OPS-3)."""
    same = [one for one in earlier if one.operation_id == call.operation_id]
    expect.fact(
        not same,
        wanted=f"a new operation_id for {call.rpc} of {call.machine_id}",
        got=f"{cut(call.operation_id)!r} once more",
        calls=[*same[:1], call],
    )


@behaviour("OPS-1a", watches=LIFE)
async def test_every_ack_has_an_operation_id(trial: Trial) -> None:
    await all_named(trial)


@behaviour("OPS-1b", watches=LEAVING)
async def test_every_ack_of_delete_has_an_operation_id(trial: Trial) -> None:
    await all_named(trial)


async def all_named(trial: Trial) -> None:
    """Each ack has an operation id, also that of the same call again."""
    for ack in (await shared_recording(trial)).acks:
        named(ack.call)


@behaviour("OPS-2a", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_create_sent_again_is_the_same_operation(trial: Trial) -> None:
    await sent_again(trial, trial.machine, Verb.CREATE)


@behaviour("OPS-2b", machines=1, start=State.IDLE, transitions=1)
async def test_configure_sent_again_is_the_same_operation(trial: Trial) -> None:
    await sent_again(trial, trial.machine, Verb.CONFIGURE)


@behaviour("OPS-2c", machines=1, start=State.CONFIGURED, transitions=1)
async def test_drain_sent_again_is_the_same_operation(trial: Trial) -> None:
    await sent_again(trial, trial.machine, Verb.DRAIN)


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
    await sent_again(trial, trial.machine, Verb.DELETE)


@behaviour("OPS-2g", machines=1, start=State.IDLE, transitions=2)
async def test_retries_on_the_way_do_not_put_off_the_end(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        calls, begun = [await trial.begin(machine, verb)], trial.client.now()
        while not state_of((await machine.read()).state).stable:
            waited = trial.client.now() - begun
            if waited > machine.patience.for_verb(verb):
                await ends(machine, verb)  # control: left alone it comes to its end
                wanted = f"{verb.value} to come to its end while it is asked for again and again"
                expect.fact(False, wanted=wanted, got=f"no end in {waited:.1f} s, but one after that", calls=calls[-2:])
            calls.append(await machine.call(verb))
            await asyncio.sleep(max(FIRST_POLL, min(waited, trial.window) * OFTEN, waited * SELDOM))
        await trial.bring(machine, EDGES[verb].target)


@behaviour("OPS-3a", machines=2, start=State.IDLE, transitions=4)
async def test_every_transition_has_an_operation_id_of_its_own(trial: Trial) -> None:
    acks: list[Call] = []
    cluster = trial.unique("cluster")
    for machines in (trial.machines, trial.machines[:1]):
        for verb in (Verb.CONFIGURE, Verb.DRAIN):
            asked = [m.configure(cluster=cluster) if verb is Verb.CONFIGURE else m.drain() for m in machines]
            for call in await asyncio.gather(
                *(trial.begin(m, verb, ask) for m, ask in zip(machines, asked, strict=True))
            ):
                unlike(call, acks)
                acks.append(call)
            for machine in machines:
                await ends(machine, verb)
    for call in acks:
        expect.fact(
            trial.owners(call) == {call.machine_id},
            wanted=f"{cut(call.operation_id)!r} to be an operation of {call.machine_id} alone",
            got=f"one of {', '.join(sorted(trial.owners(call)))}",
            calls=[call],
        )


@behaviour("OPS-3b", machines=1, start=State.SPECULATIVE, transitions=3, creates=True)
async def test_a_create_after_a_delete_is_a_new_operation_and_happens(trial: Trial) -> None:
    machine = trial.machine
    past = [await trial.drive(machine, Verb.CREATE)]
    past.append(await trial.drive(machine, Verb.DELETE))
    again = await expect.acked(machine.create())
    unlike(again, past)
    await expect.settles(machine, Verb.CREATE)


@behaviour("OPS-3c", machines=1, start=State.IDLE, transitions=5, creates=True)
async def test_no_operation_id_comes_back_in_a_later_life(trial: Trial) -> None:
    machine = trial.machine
    past = [call for call in [await machine.create()] if call.ok]
    for verb in (Verb.CONFIGURE, Verb.DRAIN, Verb.DELETE):
        past.append(await trial.drive(machine, verb))
    later = [await trial.begin(machine, Verb.CREATE), await machine.drain()]
    await ends(machine, Verb.CREATE)
    later += [await machine.drain(), await machine.create()]
    later.append(await trial.drive(machine, Verb.CONFIGURE))
    for call in later:
        if call.ok:
            unlike(call, past)


async def not_rebound(trial: Trial, machine: Machine, first: Call, cluster: str) -> None:
    """Ask for another cluster: the old operation answers, or nobody does; the binding stays (OPS-5)."""
    other = await machine.configure(cluster=trial.unique("other"), metadata={"of": "the other"})
    if other.ok:
        await expect.same_operation(first, other)
    await ends(machine, Verb.CONFIGURE)
    await expect.stays([machine], State.CONFIGURED, seconds=trial.window)
    shown = await machine.read()
    expect.fact(
        shown.cluster == cluster,
        wanted=f"{machine.id} to stay bound to {cluster!r}",
        got=f"cluster {shown.cluster!r}",
        calls=[first, other],
    )
    if not other.ok:  # what a retry's metadata does is OPS-5c's to judge
        expect.echoes(shown, {}, where=f"Get after a refused {other.rpc}")


@behaviour("OPS-5a", machines=1, start=State.CONFIGURED, transitions=1)
async def test_a_bound_machine_is_not_rebound(trial: Trial) -> None:
    machine = trial.machine
    first = await trial.begin(machine, Verb.CONFIGURE)
    known = (await machine.configure()).operation_id == first.operation_id  # where not, that is OPS-2's matter
    await not_rebound(trial, machine, first, machine.cluster)
    if known:
        await expect.same_operation(first, machine.configure())  # control: the binding's own cluster


@behaviour("OPS-5b", machines=1, start=State.IDLE, transitions=2)
async def test_a_machine_that_is_being_bound_is_not_rebound(trial: Trial) -> None:
    first = await trial.begin(trial.machine, Verb.CONFIGURE)
    await not_rebound(trial, trial.machine, first, trial.machine.cluster)


@behaviour("OPS-5c", machines=1, start=State.IDLE, transitions=2)
async def test_other_metadata_in_a_retry_does_not_replace_what_is_stored(trial: Trial) -> None:
    machine, stored = trial.machine, {"owner": "first", "only": "first"}
    await trial.begin(machine, Verb.CONFIGURE, machine.configure(metadata=stored))
    await machine.configure(metadata={"owner": "second", "more": "second"})
    await ends(machine, Verb.CONFIGURE)
    for metadata in ({"owner": "third"}, {}):
        await machine.configure(metadata=metadata)
        expect.echoes(await machine.read(), stored, where="Get after retries, in flight and at rest,")


@behaviour("OPS-5d", machines=1, start=State.CONFIGURED, transitions=2)
async def test_a_drain_with_another_grace_period_is_still_the_same_drain(trial: Trial) -> None:
    machine = trial.machine
    first = await trial.begin(machine, Verb.DRAIN, machine.drain(grace=0))
    for grace in (3600, 1):
        again = await machine.drain(grace=grace)
        if again.ok:
            await expect.same_operation(first, again)
    await expect.settles(machine, Verb.DRAIN)
    await expect.stays([machine], State.IDLE, seconds=trial.window)
