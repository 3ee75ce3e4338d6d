"""LST: List and Get tell the same of a machine (contract §7).

A List may lag for a moment (LST-10, a warning); a machine at rest that it still shows otherwise after seconds
is a contradiction (LST-4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core.errors import NotObserved
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import poll_until_deadline

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

PLENTY = 10**6
METADATA = {"a": "1", "é": "e\u0301", "empty": ""}


async def entry(trial: Trial, machine_id: str, *states: State, cap: int = 0, since: bytes = b"") -> pb.Machine | None:
    """The machine as a List shows it; None where it does not. That a cursor is refused is LST-8's to judge."""
    if since:
        listing = await trial.list(states, cap=cap, since=since)
    else:
        listing = (await expect.acked(trial.client.list(states, cap=cap))).response
    return next((m for m in listing.machines if m.id == machine_id), None)


async def agree(trial: Trial, machine: Machine, *, whole: bool = False, cap: int = 0, since: bytes = b"") -> None:
    """List comes to show what Get shows before and after it; `whole`: a List without states."""
    async for last in poll_until_deadline(trial):
        before = await machine.read()
        states = () if whole else (state_of(before.state),)
        listed = await entry(trial, machine.id, *states, cap=cap, since=since)
        after = await machine.read()
        if expect.at_rest(before) != expect.at_rest(after):
            raise NotObserved(f"{machine.id} does not rest")
        if listed is not None and expect.at_rest(listed) == expect.at_rest(after):
            return
        if last:
            listed = listed or await entry(trial, machine.id, since=since)
            if listed is None:
                raise NotObserved(f"List does not hold {machine.id}, which is LST-1's to judge")
            expect.same(after, listed, what=f"Get and List of {machine.id}")


@behaviour("LST-4a", machines=1, transitions=2)
async def test_list_and_get_agree_at_rest(trial: Trial) -> None:
    machine = trial.machine
    await agree(trial, machine)
    since = (await expect.acked(trial.client.list(trial.found.states_to_list()))).response.revision
    await trial.bind(machine, cluster=machine.cluster, metadata=METADATA)
    await agree(trial, machine)
    # However List is asked: what is left out of an answer is not what Get shows.
    await agree(trial, machine, cap=PLENTY)
    if not trial.found.large:
        await agree(trial, machine, whole=True)
    if since:
        await agree(trial, machine, whole=True, since=since)


@behaviour("LST-4b", machines=1, start=State.SPECULATIVE)
async def test_list_and_get_agree_on_a_free_slot(trial: Trial) -> None:
    await agree(trial, trial.machine)


@behaviour("LST-4c", machines=1, transitions=2)
async def test_list_and_get_agree_after_a_binding(trial: Trial) -> None:
    machine = trial.machine
    await trial.bind(machine, cluster=machine.cluster, metadata=METADATA)
    await trial.drive(machine, Verb.DRAIN)
    await agree(trial, machine)


@behaviour("LST-4d")
async def test_list_and_get_agree_on_the_fleet(trial: Trial) -> None:
    resting = [m.id for m in await trial.some() if m.id and state_of(m.state).stable]
    left = set(trial.random.sample(resting, min(12, len(resting))))
    # Another client may move them: it counts only what Get shows at rest twice, and List otherwise every time.
    async for last in poll_until_deadline(trial):
        before = {machine: await trial.client.get(machine) for machine in left}
        call = await expect.acked(trial.client.list())
        listed = {m.id: m for m in call.response.machines if m.id in left}
        left = {
            machine
            for machine, first in before.items()
            if await differs(trial, machine, first, listed.get(machine), last=last)
        }
        if not left:
            return


async def differs(trial: Trial, machine: str, first: Call, listed: pb.Machine | None, *, last: bool) -> bool:
    """Returns whether List still shows a machine otherwise than Get did before (`first`) and does now.

    At the `last` look, that is a Violation.
    """
    second = await trial.client.get(machine)
    if listed is not None and StatusCode.NOT_FOUND in (first.code, second.code):
        # It may have gone just now.
        if last and first.code is second.code:
            wanted = f"Get to know {machine}, which List shows at every look"
            expect.fact(False, wanted=wanted, got=second.outcome(), calls=[first, second])
        return True
    if not first.ok or not second.ok:
        return False
    here, there = expect.at_rest(first.response), expect.at_rest(second.response)
    moves = here != there or not state_of(there.state).stable
    if moves or (listed is not None and expect.at_rest(listed) == there):
        return False
    if last:
        if listed is None:
            raise NotObserved(f"List does not hold {machine}, which is LST-2's to judge")
        expect.same(there, listed, what=f"Get and List of {machine}")
    return True


@behaviour("LST-10a", machines=1, transitions=2)
async def test_list_knows_at_once_what_has_settled(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await kept(trial, machine, verb)
        await trial.drive(machine, verb)
        await current(trial, machine, verb, EDGES[verb].target)


@behaviour("LST-10b", machines=1, transitions=2)
async def test_list_knows_at_once_what_was_accepted(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await kept(trial, machine, verb)
        await expect.acked(machine.call(verb))
        await current(trial, machine, verb, EDGES[verb].via, EDGES[verb].target)
        await trial.bring(machine, EDGES[verb].target)


async def way(trial: Trial, machine: Machine, verb: Verb) -> pb.Machine | None:
    """The machine as a List of all three states of the verb's edge shows it."""
    edge = EDGES[verb]
    return await entry(trial, machine.id, edge.source, edge.via, edge.target)


async def kept(trial: Trial, machine: Machine, verb: Verb) -> None:
    """Ask as `current` will, so that a List which is kept for a while is kept now."""
    await way(trial, machine, verb)
    if not trial.found.large:
        await entry(trial, machine.id)


async def current(trial: Trial, machine: Machine, verb: Verb, *states: State) -> None:
    """A List right now shows the machine in one of the states."""
    views = [await way(trial, machine, verb)]
    if not trial.found.large:
        views.append(await entry(trial, machine.id))
    for listed in views:
        got = state_of(listed.state).name if listed is not None else "nothing of it"
        wanted = f"List right after {verb.value} to show {machine.id} {' or '.join(s.name for s in states)}"
        expect.fact(listed is not None and state_of(listed.state) in states, wanted=wanted, got=got)
