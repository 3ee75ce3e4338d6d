"""LST: deltas, the Lists that contain only what changed since a revision (contract §7).

A delta contains at least what changed, so machines that other tenants move do not matter. Only an *empty* delta needs a
quiet fleet: that behaviour runs alone, with machines at rest, and is tried several times.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.core.errors import KitTooSlow, NotObserved, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.suite._list import checked_list, current_revision, ids_in
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import poll_until_deadline
from conformance.testkit.timing import missed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

MAX_REPEATS, MAX_ATTEMPTS, MAX_PAGES = 4, 40, 120
"""Maximum number of equal results in a row, of attempts to find the fleet without changes, and of pages of a delta."""


async def delta(trial: Trial, since: bytes, states: Sequence[State] = (), *, cap: int = 0) -> Call:
    """Returns the List of what changed since a revision; of everything if it is empty."""
    return await expect.acked(trial.client.list(states, since=since, cap=cap))


async def check_delta(
    trial: Trial, machine: Machine, since: bytes, *states: State, only_in: Sequence[State] = (), why: str
) -> Call:
    """Checks that the delta since `since` shows the machine in one of the states, maybe after a delay; returns it."""
    names = " or ".join(state.name for state in states)
    async for last in poll_until_deadline(trial):
        call = await delta(trial, since, only_in)
        found = [m for m in call.response.machines if m.id == machine.id]
        if found and state_of(found[0].state) in states:
            break
        if last:
            got = state_of(found[0].state).name if found else f"{len(ids_in(call))} other machines"
            wanted = f"the delta since {since.hex()[:40]} to show {machine.id} as {names}, {why}"
            expect.fact(False, wanted=wanted, got=got, calls=[call])
    return call


def entry(call: Call, machine_id: str) -> pb.Machine | None:
    """Returns the machine in a List; None if it is not there."""
    return next((m for m in call.response.machines if m.id == machine_id), None)


@behaviour("LST-6a", machines=1, start=State.CONFIGURED, alone=True, transitions=1)
async def test_a_mutation_moves_the_revision(trial: Trial) -> None:
    before = await current_revision(trial)
    await trial.begin(trial.machine, Verb.DRAIN)
    async for last in poll_until_deadline(trial):
        after = await current_revision(trial)
        if after != before:
            break
        expect.fact(not last, wanted="Drain to change the revision", got=f"{after.hex()}, as before the Drain")


@behaviour("LST-6b", machines=1, transitions=2)
async def test_the_delta_holds_what_a_mutation_changed(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edge, since = EDGES[verb], await current_revision(trial)
        await expect.acked(machine.call(verb))
        await check_delta(trial, machine, since, edge.via, edge.target, why=f"which just accepted {verb.value}")
        await trial.bring(machine, edge.target)
        await check_delta(trial, machine, since, edge.target, why=f"which has settled after {verb.value}")


@behaviour("LST-6c", machines=1, transitions=4)
async def test_the_delta_holds_what_is_back_where_it_was(trial: Trial) -> None:
    machine = trial.machine
    since = await current_revision(trial)
    for _ in range(2):
        await trial.bring(machine, State.CONFIGURED)
        await trial.bring(machine, State.IDLE)
        await check_delta(trial, machine, since, State.IDLE, why="which is IDLE again after Configure and Drain")


@behaviour("LST-6d", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_the_delta_holds_what_was_created(trial: Trial) -> None:
    await check_deltas_of_edge(trial, Verb.CREATE, why="which was created")


@behaviour("LST-6h", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_the_delta_holds_what_was_deleted(trial: Trial) -> None:
    await check_deltas_of_edge(trial, Verb.DELETE, why="which was deleted")


async def check_deltas_of_edge(trial: Trial, verb: Verb, *, why: str) -> None:
    """Takes one edge. Checks that the deltas since before it, and since a List during the transition, show the end."""
    machine, edge, since = trial.machine, EDGES[verb], await current_revision(trial)
    await trial.begin(machine, verb)
    midway = await delta(trial, b"", trial.found.states_to_list(edge.via))
    shown = entry(midway, machine.id)
    await trial.bring(machine, edge.target)
    await check_delta(trial, machine, since, edge.target, why=why)
    if shown is not None and state_of(shown.state) is edge.via:
        why = f"which the List with this revision showed {edge.via.name}"
        await check_delta(trial, machine, midway.response.revision, edge.target, why=why)


@behaviour("LST-6e", machines=1, transitions=2)
async def test_settling_is_a_change(trial: Trial) -> None:
    machine, not_seen = trial.machine, list[Unsupported | KitTooSlow]()
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edge = EDGES[verb]
        ack = await expect.acked(machine.call(verb))
        midway = await delta(trial, b"", trial.found.states_to_list(edge.via))
        shown = entry(midway, machine.id)
        trial.pace.note_call(midway.rpc, midway.ended - midway.started)
        await trial.bring(machine, edge.target)
        if shown is not None and state_of(shown.state) is edge.via:
            why = f"which the List with this revision showed {edge.via.name}"
            await check_delta(trial, machine, midway.response.revision, edge.target, why=why)
        else:
            not_seen.append(missed(trial, verb, ack, at=midway.ended, rpc=midway.rpc))
    if len(not_seen) == 2:
        raise not_seen[0]


@behaviour("LST-6f", machines=2, transitions=2)
async def test_an_old_cursor_still_works(trial: Trial) -> None:
    since = await current_revision(trial)
    for state in (State.CONFIGURED, State.IDLE):
        await asyncio.gather(*(trial.bring(machine, state) for machine in trial.machines))
    for machine in trial.machines:
        await check_delta(trial, machine, since, State.IDLE, why="which has changed twice since")
        await check_delta(trial, machine, since, State.IDLE, why="with the same cursor a second time")


@behaviour("LST-6g", machines=1, transitions=1)
async def test_a_filter_and_a_cursor_go_together(trial: Trial) -> None:
    bound = trial.machine
    since = await current_revision(trial)
    await trial.bring(bound, State.CONFIGURED)
    # A machine that has left the requested states may be missing: only one that is in them now is judged.
    for states in ([State.CONFIGURED], [State.IDLE, State.CONFIGURED]):
        await check_delta(
            trial, bound, since, State.CONFIGURED, only_in=states, why="which is now in a requested state"
        )
    # Control: without a cursor, only the filter applies.
    await checked_list(trial, [State.CONFIGURED], included=[bound])
    await checked_list(trial, [State.IDLE], excluded=[bound])


async def check_omitted(read: Callable[[], Awaitable[tuple[Call, Call]]], machine_id: str = "", *, wanted: str) -> Call:
    """Checks that the delta since a List eventually omits `machine_id`, or all machines if empty; returns the List.

    `read` returns a List and the delta since it. A delta with some change may contain unchanged machines too (LST-6):
    it counts as a success if it omits the machine, but not as a failure if it does not.
    """
    repeats = 0
    for _ in range(MAX_ATTEMPTS):
        first, second = await read()
        before = {m.id: m for m in first.response.machines}
        unchanged = {m.id for m in second.response.machines if before.get(m.id) == m}  # another price is a change too
        if machine_id not in unchanged if machine_id else not unchanged:
            return first
        repeats += unchanged == {*ids_in(second)}
        got = f"{len(unchanged)} unchanged machines, in every attempt"
        expect.fact(repeats < MAX_REPEATS, wanted=wanted, got=got, calls=[first, second])
    raise Unsupported("other machines changed in every attempt, and a delta may then contain unchanged machines too")


@behaviour("LST-7a", machines=1, transitions=1)
async def test_a_machine_that_did_not_change_is_in_no_delta(trial: Trial) -> None:
    machine, stale = trial.machine, trial.new_shard().token(epoch=5, sequence=5)
    await machine.create(stale)
    calls: list[Callable[[], Awaitable[Call]] | None] = [
        None,
        machine.get,
        machine.create,
        lambda: machine.create(stale),
    ]
    if not (await machine.drain()).ok:  # if accepted, the Drain is an operation, which may be a change
        calls.append(machine.drain)
    for call in calls:
        await check_unchanged_omitted(trial, machine, by=call)
    await check_unchanged_omitted(trial, machine, elsewhere=True)
    # At IDLE, a Drain may be a retry of the last one. At CONFIGURED, a Create has no edge in any case (COD-2).
    await trial.bring(machine, State.CONFIGURED)
    if not (await machine.create()).ok:
        await check_unchanged_omitted(trial, machine, State.CONFIGURED, by=machine.create)


async def check_unchanged_omitted(
    trial: Trial,
    machine: Machine,
    state: State = State.IDLE,
    *,
    by: Callable[[], Awaitable[Call]] | None = None,
    elsewhere: bool = False,
) -> None:
    """Checks that the machine is not in the delta after `by`, a call that changes nothing, or over a new connection."""

    async def read() -> tuple[Call, Call]:
        states = trial.found.states_to_list(state)
        first = await delta(trial, b"", states)
        if by:
            await by()
        async with trial.connections(int(elsewhere)) as others:
            client = (*others, trial.client)[0]
            return first, await expect.acked(client.list(states, since=first.response.revision))

    wanted = f"the delta not to contain {machine.id}, which has not changed since the List with this revision"
    await check_omitted(read, machine.id, wanted=wanted)


@behaviour("LST-7b", machines=1, start=State.CONFIGURED, alone=True)
async def test_a_delta_without_changes_is_empty(trial: Trial) -> None:
    async def read() -> tuple[Call, Call]:
        first = await delta(trial, b"")
        return first, await delta(trial, first.response.revision)

    await check_omitted(read, wanted="an empty delta if nothing has changed")


@behaviour("LST-7c", machines=1, transitions=2)
async def test_what_a_delta_has_told_is_not_told_again(trial: Trial) -> None:
    machine = trial.machine
    since = await current_revision(trial)
    await trial.bring(machine, State.CONFIGURED)

    async def read() -> tuple[Call, Call]:
        first = await check_delta(trial, machine, since, State.CONFIGURED, why="which was bound")
        return first, await delta(trial, first.response.revision)

    wanted = f"the delta since the last delta not to contain {machine.id}, which has not changed since"
    last = await check_omitted(read, machine.id, wanted=wanted)
    await trial.bring(machine, State.IDLE)
    await check_delta(trial, machine, last.response.revision, State.IDLE, why="which has changed since the last delta")


@behaviour("LST-9a", machines=4, transitions=1)
async def test_paging_a_capped_delta_reaches_every_machine(trial: Trial) -> None:
    since = await current_revision(trial)
    # Last id first: a provider that pages by id instead of by change would then begin with the newest change.
    backwards = sorted(trial.machines, key=lambda machine: machine.id, reverse=True)
    await asyncio.gather(*(trial.bring(machine, State.CONFIGURED) for machine in backwards))
    for machine in trial.machines:
        await check_delta(trial, machine, since, State.CONFIGURED, why="which was bound")
    await check_paging(trial, since)
    await check_paging(trial, since, [State.CONFIGURED])


async def check_paging(trial: Trial, since: bytes, states: Sequence[State] = ()) -> None:
    """Checks that reading the delta in pages of two machines reaches all of the trial's machines."""
    missing, page = {machine.id for machine in trial.machines}, since
    stale = 0
    for _ in range(MAX_PAGES):
        call = await delta(trial, page, states, cap=2)
        fresh = call.response.revision != page
        missing -= set(ids_in(call))
        if not missing:
            return
        if not ids_in(call):
            break
        stale = 0 if fresh else stale + 1
        if stale > MAX_REPEATS:
            break
        page = call.response.revision
    else:
        raise NotObserved(f"the fleet kept changing: no end after {MAX_PAGES} pages")
    got = f"an empty page, without {sorted(missing)} before" if not ids_in(call) else "the same page repeatedly"
    expect.fact(False, wanted="pages of two machines to reach every machine that changed", got=got, calls=[call])
