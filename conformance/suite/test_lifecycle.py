"""LIF: four edges, taken one at a time, and nothing else (contract §2).

What a machine shows of its host, its binding and its past is in test_lifecycle_traces. Only the behaviours about
Create and Delete start machines; all others go back and forth between IDLE and CONFIGURED.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from conformance.core.errors import Unprepared, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.call import Call, describe_machine
from conformance.suite._edges import watched_once, watched_until_seen
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.recording import BINDING, LEAVING, LIFE, shared_recording

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.testkit.trial import Trial

LONG = 1.0
"""Seconds after which an ack that shows the target must be called one that waited for it."""


def verbs_of(trial: Trial) -> list[Verb]:
    """All the way round, as far as this provider goes."""
    return [verb for verb in Verb if verb is not Verb.DELETE or trial.found.delete]


@behaviour("LIF-1a", machines=1, start=State.SPECULATIVE, transitions=4, creates=True)
async def test_the_whole_lifecycle(trial: Trial) -> None:
    machine = trial.machine
    for verb in verbs_of(trial):
        token = trial.new_shard().next()  # a machine belongs to no shard
        await expect.acked(machine.drain(token, grace=1) if verb is Verb.DRAIN else machine.call(verb, token))
        await expect.settles(machine, verb)


@behaviour("LIF-1b", machines=1, start=State.IDLE, transitions=4)
async def test_a_walk_of_legal_and_illegal_calls_follows_the_four_edges(trial: Trial) -> None:
    machine, state, taken = trial.machine, State.IDLE, 0
    for _ in range(30):
        verb = trial.random.choice([Verb.CREATE, Verb.CONFIGURE, Verb.DRAIN, Verb.DELETE])
        legal = EDGES[verb].source is state
        if legal and (taken == 4 or verb is Verb.DELETE):
            continue  # enough of them; and a Delete would cost a machine
        if legal:
            await expect.acked(machine.call(verb))
            await expect.settles(machine, verb)
            state, taken = EDGES[verb].target, taken + 1
        else:
            await machine.call(verb)  # had it an edge, the next legal call would find none


@behaviour("LIF-2a", machines=1, start=State.SPECULATIVE, transitions=2, creates=True)
async def test_create_shows_only_its_own_state(trial: Trial) -> None:
    await watched_once(trial, Verb.CREATE)


@behaviour("LIF-2b", machines=1, start=State.IDLE, transitions=2)
async def test_configure_shows_only_its_own_state(trial: Trial) -> None:
    await watched_until_seen(trial, Verb.CONFIGURE)


@behaviour("LIF-2c", machines=1, start=State.CONFIGURED, transitions=2)
async def test_drain_shows_only_its_own_state(trial: Trial) -> None:
    await watched_until_seen(trial, Verb.DRAIN)


@behaviour("LIF-2d", machines=1, start=State.IDLE, transitions=2, deletes=True)
async def test_delete_shows_only_its_own_state(trial: Trial) -> None:
    await watched_once(trial, Verb.DELETE)


@behaviour("LIF-2e", machines=1, start=State.IDLE, transitions=2)
async def test_every_connection_shows_what_was_accepted_over_another(trial: Trial) -> None:
    machine = trial.machine
    async with trial.connections(2) as others:
        for verb in (Verb.CONFIGURE, Verb.DRAIN):
            edge = EDGES[verb]
            for client in others:  # what was read once may be kept for whoever asks again
                await client.get(machine.id)
            ack = await trial.begin(machine, verb)
            for states in ((edge.via, edge.target), (edge.target,)):
                if states == (edge.target,):
                    await trial.bring(machine, edge.target)
                for client in others:
                    seen = await expect.acked(client.get(machine.id))
                    expect.fact(
                        state_of(seen.response.state) in states,
                        wanted=f"another connection to show {' or '.join(state.name for state in states)} by now",
                        got=describe_machine(seen.response),
                        calls=[ack, seen],
                    )


@behaviour("LIF-3a", machines=2, start=State.IDLE, bound=1, transitions=1)
async def test_idle_and_configured_machines_stay_as_they_are(trial: Trial) -> None:
    idle, bound = trial.machines
    await asyncio.gather(
        expect.stays([idle], State.IDLE, seconds=trial.window),
        expect.stays([bound], State.CONFIGURED, seconds=trial.window),
    )


@behaviour("LIF-3b", machines=2, start=State.SPECULATIVE)
async def test_slots_stay_slots(trial: Trial) -> None:
    await expect.stays(trial.machines, State.SPECULATIVE, seconds=trial.window)


@behaviour("LIF-9a", machines=3, start=State.IDLE, transitions=4)
async def test_configure_and_drain_move_no_other_machine(trial: Trial) -> None:
    driven, bound, other = trial.machines
    rest, one, another = (
        {m: place(await m.read()) for m in trial.machines},
        trial.unique("one"),
        trial.unique("another"),
    )
    for machine, cluster in ((bound, one), (other, another), (driven, one)):
        await moves_alone(trial, machine, Verb.CONFIGURE, rest, machine.configure(cluster=cluster))
    await moves_alone(trial, driven, Verb.DRAIN, rest)


@behaviour("LIF-9b", machines=2, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_create_moves_no_other_machine(trial: Trial) -> None:
    await moves_alone(trial, trial.machine, Verb.CREATE, {m: place(await m.read()) for m in trial.machines})


@behaviour("LIF-9c", machines=2, start=State.IDLE, transitions=1, deletes=True)
async def test_delete_moves_no_other_machine(trial: Trial) -> None:
    await moves_alone(trial, trial.machine, Verb.DELETE, {m: place(await m.read()) for m in trial.machines})


def place(machine: pb.Machine) -> str:
    """Where a machine is, in words that can be compared."""
    return f"{state_of(machine.state).name} host {machine.host.ref!r} cluster {machine.cluster!r}"


async def moves_alone(
    trial: Trial, driven: Machine, verb: Verb, rest: dict[Machine, str], asked: Awaitable[Call] | None = None
) -> None:
    """Drive one machine; the others are as `rest` says, on the way and at the end. Writes down where it ends."""
    others = [machine for machine in rest if machine is not driven]
    ack = await trial.begin(driven, verb, asked)
    for settled in (False, True):
        if settled:
            watch = await driven.settle(patience=driven.patience.for_verb(verb))
            if watch.state is not EDGES[verb].target:
                raise Unprepared(f"{driven.id} is {describe_machine(watch.machine)} after {verb.value}")
            rest[driven] = place(watch.machine)
        for other in others:
            after = place(await other.read())
            expect.fact(
                after == rest[other],
                wanted=f"{verb.value} of {driven.id} to leave {other.id} as it was: {rest[other]}",
                got=after,
                calls=[ack],
            )


@behaviour("LIF-10a", watches=BINDING)
async def test_an_ack_does_not_wait_for_the_transition(trial: Trial) -> None:
    await nobody_waits(trial, *BINDING)


@behaviour("LIF-10b", watches=LIFE)
async def test_the_ack_of_create_does_not_wait_for_the_host(trial: Trial) -> None:
    await nobody_waits(trial, Verb.CREATE)


@behaviour("LIF-10c", watches=LEAVING)
async def test_the_ack_of_delete_does_not_wait_for_its_end(trial: Trial) -> None:
    await nobody_waits(trial, Verb.DELETE)


async def nobody_waits(trial: Trial, *verbs: Verb) -> None:
    """No ack of these edges came when all was over, unless that took no time; nor did that of the same call again."""
    passage = await shared_recording(trial)
    on_the_way = [ack for ack in passage.at(*verbs) if ack.when != "at rest"]
    late = [ack for ack in on_the_way if state_of(ack.call.response.machine.state) is EDGES[ack.verb].target]
    for ack in late:
        took, control = ack.call.ended - ack.call.started, passage.controls[ack.verb]
        expect.fact(
            took < LONG or took < 10 * (control.ended - control.started),
            wanted=f"{ack.verb.value} to be acknowledged while it runs",
            got=f"an ack after {took:.1f} s, when all was over",
            calls=[ack.call],
        )
    if {ack.verb for ack in late if not ack.when} == set(verbs):
        raise Unsupported("transitions are over with their ack, and take no time")


def snapshot(machine: str, verb: Verb, call: Call, *, retried: str = "") -> None:
    """An ack shows the machine that was asked for, on its way or there (LIF-11)."""
    edge, shown = EDGES[verb], call.response.machine
    expect.fact(
        shown.id == machine and state_of(shown.state) in (edge.via, edge.target),
        wanted=f"the ack of {verb.value}{retried} to show {machine} {edge.via.name} or {edge.target.name}",
        got=f"{shown.id!r} {describe_machine(shown)}",
        calls=[call],
    )


@behaviour("LIF-11a", watches=LIFE)
async def test_an_ack_shows_the_machine_on_its_way_or_there(trial: Trial) -> None:
    await shown_by_every_ack(trial)


@behaviour("LIF-11c", watches=LEAVING)
async def test_the_ack_of_delete_shows_the_machine_on_its_way_or_there(trial: Trial) -> None:
    await shown_by_every_ack(trial)


async def shown_by_every_ack(trial: Trial) -> None:
    """The first acks, and those of the same call on the way and at rest, show the machine."""
    passage = await shared_recording(trial)
    for ack in passage.acks:
        snapshot(passage.machine, ack.verb, ack.call, retried=ack.when and f" sent again {ack.when}")


@behaviour("LIF-11b", machines=2, start=State.IDLE, transitions=2)
async def test_acks_are_not_mixed_up_between_machines(trial: Trial) -> None:
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        acks = await trial.together(2, partial(begin_one, trial, verb))
        for machine, ack in zip(trial.machines, acks, strict=True):
            snapshot(machine.id, verb, ack)
        await asyncio.gather(*(trial.bring(machine, EDGES[verb].target) for machine in trial.machines))


async def begin_one(trial: Trial, verb: Verb, number: int) -> Call:
    """Set out with one of several machines."""
    return await trial.begin(trial.machines[number], verb)


@behaviour("LIF-12a", machines=1, start=State.CONFIGURED, transitions=2)
async def test_a_drain_without_grace_ends(trial: Trial) -> None:
    machine = trial.machine
    ack = await expect.acked(machine.drain(grace=0))
    watch = await machine.settle(patience=machine.patience.drain)
    expect.fact(
        watch.state is State.IDLE or (watch.state is State.FAILED and watch.machine.last_error),
        wanted="a Drain with grace 0 to end in IDLE, or in FAILED with a last_error",
        got=f"{describe_machine(watch.machine)} after {watch.seconds:.1f} s",
        calls=[ack],
    )
    await expect.stays([machine], watch.state, seconds=trial.window)
