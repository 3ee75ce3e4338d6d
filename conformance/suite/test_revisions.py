"""LST: what a caller learns who asks only for what has changed (contract §7).

A delta holds at least what changed, so machines that other tenants move are no matter. Only that a delta is
*empty* needs a quiet fleet: it is asked alone, at rest, and a few times.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.core.errors import NotObserved, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.suite._list import cursor, ids, listing
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import poll_until_deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

FEW, MANY, MOST_PAGES = 4, 40, 120


async def delta(trial: Trial, since: bytes, states: Sequence[State] = (), *, cap: int = 0) -> Call:
    """What changed since."""
    return await expect.acked(trial.client.list(states, since=since, cap=cap))


async def learns(
    trial: Trial, machine: Machine, since: bytes, *states: State, only_in: Sequence[State] = (), why: str
) -> Call:
    """The delta since `since` comes to hold the machine, in one of the states. A List may lag, not for ever."""
    names = " or ".join(state.name for state in states)
    async for last in poll_until_deadline(trial):
        call = await delta(trial, since, only_in)
        found = [m for m in call.response.machines if m.id == machine.id]
        if found and state_of(found[0].state) in states:
            break
        if last:
            got = state_of(found[0].state).name if found else f"{len(ids(call))} others"
            wanted = f"the delta since {since.hex()[:40]} to hold {machine.id} as {names}, {why}"
            expect.fact(False, wanted=wanted, got=got, calls=[call])
    return call


def entry(call: Call, machine_id: str) -> pb.Machine | None:
    """The machine in a listing."""
    return next((m for m in call.response.machines if m.id == machine_id), None)


@behaviour("LST-6a", machines=1, start=State.CONFIGURED, alone=True, transitions=1)
async def test_a_mutation_moves_the_revision(trial: Trial) -> None:
    before = await cursor(trial)
    await trial.begin(trial.machine, Verb.DRAIN)
    async for last in poll_until_deadline(trial):
        after = await cursor(trial)
        if after != before:
            break
        expect.fact(not last, wanted="Drain to move the revision", got=f"{after.hex()} as before")


@behaviour("LST-6b", machines=1, transitions=2)
async def test_the_delta_holds_what_a_mutation_changed(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edge, since = EDGES[verb], await cursor(trial)
        await expect.acked(machine.call(verb))
        await learns(trial, machine, since, edge.via, edge.target, why=f"which was just asked to {verb.value}")
        await trial.bring(machine, edge.target)
        await learns(trial, machine, since, edge.target, why=f"which has settled after {verb.value}")


@behaviour("LST-6c", machines=1, transitions=4)
async def test_the_delta_holds_what_is_back_where_it_was(trial: Trial) -> None:
    machine = trial.machine
    since = await cursor(trial)
    for _ in range(2):
        await trial.bring(machine, State.CONFIGURED)
        await trial.bring(machine, State.IDLE)
        await learns(trial, machine, since, State.IDLE, why="back at IDLE after Configure and Drain")


@behaviour("LST-6d", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_the_delta_holds_what_was_created(trial: Trial) -> None:
    await learns_all(trial, Verb.CREATE, why="which was created")


@behaviour("LST-6h", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_the_delta_holds_what_was_deleted(trial: Trial) -> None:
    await learns_all(trial, Verb.DELETE, why="which was deleted")


async def learns_all(trial: Trial, verb: Verb, *, why: str) -> None:
    """Take one edge; the delta since before, and that since a List that showed the machine on its way, tell the end."""
    machine, edge, since = trial.machine, EDGES[verb], await cursor(trial)
    await trial.begin(machine, verb)
    midway = await delta(trial, b"", trial.found.states_to_list(edge.via))
    seen = entry(midway, machine.id)
    await trial.bring(machine, edge.target)
    await learns(trial, machine, since, edge.target, why=why)
    if seen is not None and state_of(seen.state) is edge.via:
        why = f"which List has shown {edge.via.name} with this revision"
        await learns(trial, machine, midway.response.revision, edge.target, why=why)


@behaviour("LST-6e", machines=1, transitions=2)
async def test_settling_is_a_change(trial: Trial) -> None:
    machine, judged = trial.machine, 0
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edge = EDGES[verb]
        await expect.acked(machine.call(verb))
        midway = await delta(trial, b"", trial.found.states_to_list(edge.via))
        seen = entry(midway, machine.id)
        await trial.bring(machine, edge.target)
        if seen is not None and state_of(seen.state) is edge.via:
            judged += 1
            why = f"which List has shown {edge.via.name} with this revision"
            await learns(trial, machine, midway.response.revision, edge.target, why=why)
    if not judged:
        raise Unsupported("no List came in time to show the machine on its way")


@behaviour("LST-6f", machines=2, transitions=2)
async def test_an_old_cursor_still_works(trial: Trial) -> None:
    since = await cursor(trial)
    for state in (State.CONFIGURED, State.IDLE):
        await asyncio.gather(*(trial.bring(machine, state) for machine in trial.machines))
    for machine in trial.machines:
        await learns(trial, machine, since, State.IDLE, why="changed twice since")
        await learns(trial, machine, since, State.IDLE, why="asked for a second time")


@behaviour("LST-6g", machines=1, transitions=1)
async def test_a_filter_and_a_cursor_go_together(trial: Trial) -> None:
    bound = trial.machine
    since = await cursor(trial)
    await trial.bring(bound, State.CONFIGURED)
    # What has left the states that are asked for may be missing: only what is in them now is judged.
    for states in ([State.CONFIGURED], [State.IDLE, State.CONFIGURED]):
        await learns(trial, bound, since, State.CONFIGURED, only_in=states, why="now in a state that is asked for")
    # Control: without a cursor the filter alone decides.
    await listing(trial, [State.CONFIGURED], inside=[bound])
    await listing(trial, [State.IDLE], outside=[bound])


async def untold(look: Callable[[], Awaitable[tuple[Call, Call]]], machine_id: str = "", *, wanted: str) -> Call:
    """A List comes to be followed by a delta without `machine_id`, or any machine, just as it was; returns the List.

    A delta that tells of some change may hold more than that (LST-6): it counts for the machine, but not against it.
    """
    times = 0
    for _ in range(MANY):
        first, second = await look()
        before = {m.id: m for m in first.response.machines}
        same = {m.id for m in second.response.machines if before.get(m.id) == m}  # with another price it has changed
        if machine_id not in same if machine_id else not same:
            return first
        times += same == {*ids(second)}
        got = f"{len(same)} machines just as they were, every time"
        expect.fact(times < FEW, wanted=wanted, got=got, calls=[first, second])
    raise Unsupported("something has changed each time, and a delta then holds what has not")


@behaviour("LST-7a", machines=1)
async def test_a_machine_that_did_not_change_is_in_no_delta(trial: Trial) -> None:
    machine, stale = trial.machine, trial.new_shard().token(epoch=5, sequence=5)
    await machine.create(stale)
    by: list[Callable[[], Awaitable[Call]] | None] = [None, machine.get, machine.create, lambda: machine.create(stale)]
    if not (await machine.drain()).ok:  # else that is an operation, if one that moves nothing
        by.append(machine.drain)
    for ask in by:
        await not_told(trial, machine, by=ask)
    await not_told(trial, machine, elsewhere=True)


async def not_told(
    trial: Trial, machine: Machine, *, by: Callable[[], Awaitable[Call]] | None = None, elsewhere: bool = False
) -> None:
    """The machine is not in the delta, neither by a call that changes nothing nor over a new connection."""

    async def look() -> tuple[Call, Call]:
        states = trial.found.states_to_list(State.IDLE)
        first = await delta(trial, b"", states)
        if by:
            await by()
        async with trial.connections(int(elsewhere)) as others:
            client = (*others, trial.client)[0]
            return first, await expect.acked(client.list(states, since=first.response.revision))

    wanted = f"no {machine.id} in the delta since a List that showed it just so"
    await untold(look, machine.id, wanted=wanted)


@behaviour("LST-7b", machines=1, start=State.CONFIGURED, alone=True)
async def test_a_delta_without_changes_is_empty(trial: Trial) -> None:
    async def look() -> tuple[Call, Call]:
        first = await delta(trial, b"")
        return first, await delta(trial, first.response.revision)

    await untold(look, wanted="an empty delta when nothing has changed")


@behaviour("LST-7c", machines=1, transitions=2)
async def test_what_a_delta_has_told_is_not_told_again(trial: Trial) -> None:
    machine = trial.machine
    since = await cursor(trial)
    await trial.bring(machine, State.CONFIGURED)

    async def look() -> tuple[Call, Call]:
        first = await learns(trial, machine, since, State.CONFIGURED, why="which was bound")
        return first, await delta(trial, first.response.revision)

    wanted = f"the delta since the last delta without {machine.id}, which has not changed since"
    told = await untold(look, machine.id, wanted=wanted)
    await trial.bring(machine, State.IDLE)
    await learns(trial, machine, told.response.revision, State.IDLE, why="which has changed after the last delta")


@behaviour("LST-9a", machines=4, transitions=1)
async def test_paging_a_capped_delta_reaches_every_machine(trial: Trial) -> None:
    since = await cursor(trial)
    # Who pages in the order of ids, and not of changes, has the newest first then.
    backwards = sorted(trial.machines, key=lambda machine: machine.id, reverse=True)
    await asyncio.gather(*(trial.bring(machine, State.CONFIGURED) for machine in backwards))
    for machine in trial.machines:
        await learns(trial, machine, since, State.CONFIGURED, why="which was bound")
    await paged(trial, since)
    await paged(trial, since, [State.CONFIGURED])


async def paged(trial: Trial, since: bytes, states: Sequence[State] = ()) -> None:
    """Paging on by two reaches all of the trial's machines."""
    missing, page = {machine.id for machine in trial.machines}, since
    stale = 0
    for _ in range(MOST_PAGES):
        call = await delta(trial, page, states, cap=2)
        fresh = call.response.revision != page
        missing -= set(ids(call))
        if not missing:
            return
        if not ids(call):
            break
        stale = 0 if fresh else stale + 1
        if stale > FEW:
            break
        page = call.response.revision
    else:
        raise NotObserved(f"after {MOST_PAGES} pages the fleet has still changed")
    got = f"the end, without {sorted(missing)}" if not ids(call) else "the same page again and again"
    expect.fact(False, wanted="paging on by two to reach all that changed", got=got, calls=[call])
