"""LST: deltas, the Lists that contain only what changed since a revision (contract §7).

A delta contains at least what changed, so machines that other tenants move do not matter. Only an *empty* delta needs a
quiet fleet: that behaviour runs alone, with machines at rest, and is tried several times.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.core.errors import KitTooSlow, NotObserved, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.results.held import CURSOR
from conformance.suite._list import checked_list, current_revision, ids_in
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import MIN_PAUSE_S, poll_until_deadline
from conformance.testkit.timing import missed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

CLOCK_START = 0.0
"""The time on the run's clock when it connects, just before the first List of the run."""
MAX_REPEATS, MAX_ATTEMPTS, MAX_PAGES = 4, 40, 120
"""Maximum number of equal results in a row, of attempts to find the fleet without changes, and of pages of a delta."""


async def delta(
    trial: Trial, since: bytes, states: Sequence[State] = (), *, cap: int = 0, client: Client | None = None
) -> Call:
    """Returns the List of what changed since a revision; of everything if it is empty."""
    return await expect.acked((client or trial.client).list(states, since=since, cap=cap))


async def check_delta(
    trial: Trial,
    machine: Machine,
    since: bytes,
    *states: State,
    only_in: Sequence[State] = (),
    client: Client | None = None,
    why: str,
) -> Call:
    """Checks that the delta since `since` shows the machine in one of the states, maybe after a delay; returns it."""
    names = " or ".join(state.name for state in states)
    async for last in poll_until_deadline(trial):
        call = await delta(trial, since, only_in, client=client)
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
    await trial.bring(trial.machine, State.IDLE)
    # In a busy fleet, the newest change is rarely that of the kit's machine: here it is.
    await check_delta(trial, trial.machine, before, State.IDLE, why="which has changed last of all machines")
    await check_first_cursor(trial)


async def check_first_cursor(trial: Trial) -> None:
    """Checks that the delta since the run's first List contains every machine that the run has bound since."""
    await trial.hold.wait(CLOCK_START)
    bound = trial.bound
    async for last in poll_until_deadline(trial):
        call = await delta(trial, trial.found.revision)
        missing = sorted(bound - set(ids_in(call)))
        if not missing:
            trial.hold.note(CURSOR, CLOCK_START)
            return
        if last and [machine for machine in missing[:3] if (await trial.client.get(machine)).ok]:
            wanted = f"the delta since the first List of the run to contain {missing[0]}, which the run has bound"
            got = f"{len(ids_in(call))} machines, without {len(missing)} of {len(bound)} that were bound"
            expect.fact(False, wanted=wanted, got=got, calls=[call])


@behaviour("LST-6b", machines=1, transitions=2)
async def test_the_delta_holds_what_a_mutation_changed(trial: Trial) -> None:
    machine = trial.machine
    # The cursor of a List that shows only a few machines, or one, is as good as that of any other List.
    few = (State.CONFIGURING, State.DRAINING)
    for verb, cap in ((Verb.CONFIGURE, 0), (Verb.DRAIN, 0 if trial.found.large else 1)):
        edge = EDGES[verb]
        since = await (current_revision(trial, cap=cap) if cap else current_revision(trial, *few))
        await expect.acked(machine.call(verb))
        await check_delta(trial, machine, since, edge.via, edge.target, why=f"which just accepted {verb.value}")
        await trial.bring(machine, edge.target)
        async with trial.connections(int(verb is Verb.DRAIN)) as others:
            client = (*others, trial.client)[0]
            why = f"which has settled after {verb.value}"
            await check_delta(trial, machine, since, edge.target, client=client, why=why)


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
    await check_delta(trial, machine, since, edge.target, only_in=[edge.target], why=f"{why} and is in this state now")
    if shown is not None and state_of(shown.state) is edge.via:
        why = f"which the List with this revision showed {edge.via.name}"
        since = midway.response.revision
    await check_delta(trial, machine, since, edge.target, why=why)


@behaviour("LST-6e", machines=1, transitions=2)
async def test_settling_is_a_change(trial: Trial) -> None:
    machine, not_seen = trial.machine, list[Unsupported | KitTooSlow]()
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edge = EDGES[verb]
        ack = await expect.acked(machine.call(verb))
        midway = await delta(trial, b"", [edge.via])
        trial.pace.note_call(midway.rpc, midway.ended - midway.started)
        latest = await last_list_with(trial, machine, edge.via, midway)
        await trial.bring(machine, edge.target)
        if latest is not None:
            why = f"which the last List of {edge.via.name} with this revision showed"
            await check_delta(trial, machine, latest.response.revision, edge.target, why=why)
        else:
            not_seen.append(missed(trial, verb, ack, at=midway.ended, rpc=midway.rpc))
    if len(not_seen) == 2:
        raise not_seen[0]


async def last_list_with(trial: Trial, machine: Machine, via: State, first: Call) -> Call | None:
    """Lists the machines in the transitional state until this one is gone; returns the last List that shows it.

    The last one was answered shortly before the machine settled: both may share a tick of a clock that is too coarse.
    """
    latest, call, started = None, first, trial.client.now()
    while entry(call, machine.id) is not None:
        latest = call
        waited = trial.client.now() - started
        if waited > trial.patience.drain:
            break
        await asyncio.sleep(max(MIN_PAUSE_S, waited / 4))
        call = await delta(trial, b"", [via])
    return latest


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
    for states in ([State.CONFIGURED], [State.IDLE, State.CONFIGURED], [State.CONFIGURED, State.IDLE]):
        await check_delta(
            trial, bound, since, State.CONFIGURED, only_in=states, why="which is now in a requested state"
        )
    # Control: without a cursor, only the filter applies.
    await checked_list(trial, [State.CONFIGURED], included=[bound])
    await checked_list(trial, [State.IDLE], excluded=[bound])


async def check_omitted(read: Callable[[], Awaitable[tuple[Call, Call]]], machine_id: str = "", *, wanted: str) -> Call:
    """Checks that the delta since a List eventually omits `machine_id`, or all machines if empty; returns the List.

    `read` returns a List and the delta since it. A delta with some change may contain unchanged machines too (LST-6):
    it counts as a success if it omits the machine, but not as a failure if it does not. With a filter, a change outside
    it does not show: only an unchanged revision rules it out.
    """
    repeats = 0
    for _ in range(MAX_ATTEMPTS):
        first, second = await read()
        before = {m.id: m for m in first.response.machines}
        unchanged = {m.id for m in second.response.machines if before.get(m.id) == m}  # another price is a change too
        if machine_id not in unchanged if machine_id else not unchanged:
            return first
        hidden_change = bool(second.request.states) and first.response.revision != second.response.revision
        repeats += unchanged == {*ids_in(second)} and not hidden_change
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
        await check_unchanged_omitted(trial, machine, by=call, filtered=call is None)
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
    filtered: bool = False,
) -> None:
    """Checks that the machine is not in the delta after `by`, a call that changes nothing, or over a new connection.

    With `filtered`, both the List and the delta are of this state only.
    """

    async def read() -> tuple[Call, Call]:
        states = (state,) if filtered else trial.found.states_to_list(state)
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
