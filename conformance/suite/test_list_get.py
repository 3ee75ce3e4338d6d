"""LST: List and Get agree on a machine (contract §7).

A List may lag for a moment (LST-10, a warning). If it still differs from Get after seconds, for a machine at rest, that
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

MAX_MACHINES = 10**6
METADATA = {"a": "1", "é": "e\u0301", "empty": ""}


async def entry(trial: Trial, machine_id: str, *states: State, cap: int = 0, since: bytes = b"") -> pb.Machine | None:
    """Returns the machine as a List shows it, None if it does not. LST-8 judges whether a cursor is refused."""
    if since:
        listing = await trial.list(states, cap=cap, since=since)
    else:
        listing = (await expect.acked(trial.client.list(states, cap=cap))).response
    return next((m for m in listing.machines if m.id == machine_id), None)


async def check_agree(trial: Trial, machine: Machine, *, whole: bool = False, cap: int = 0, since: bytes = b"") -> None:
    """Checks that List eventually shows the same as a Get before and after it. With `whole`, a List without states."""
    async for last in poll_until_deadline(trial):
        before = await machine.read()
        states = () if whole else (state_of(before.state),)
        listed = await entry(trial, machine.id, *states, cap=cap, since=since)
        after = await machine.read()
        if expect.at_rest(before) != expect.at_rest(after):
            raise NotObserved(f"{machine.id} changed between two Gets")
        if listed is not None and expect.at_rest(listed) == expect.at_rest(after):
            return
        if last:
            listed = listed or await entry(trial, machine.id, since=since)
            if listed is None:
                raise NotObserved(f"List does not contain {machine.id}: LST-1 judges that")
            expect.same(after, listed, what=f"Get and List of {machine.id}")


@behaviour("LST-4a", machines=1, transitions=2)
async def test_list_and_get_agree_at_rest(trial: Trial) -> None:
    machine = trial.machine
    await check_agree(trial, machine)
    since = (await expect.acked(trial.client.list(trial.found.states_to_list()))).response.revision
    await trial.bind(machine, cluster=machine.cluster, metadata=METADATA)
    await check_agree(trial, machine)
    # With other requests too, as a provider may leave out fields in some answers.
    await check_agree(trial, machine, cap=MAX_MACHINES)
    if not trial.found.large:
        await check_agree(trial, machine, whole=True)
    if since:
        await check_agree(trial, machine, whole=True, since=since)


@behaviour("LST-4b", machines=1, start=State.SPECULATIVE)
async def test_list_and_get_agree_on_a_free_slot(trial: Trial) -> None:
    await check_agree(trial, trial.machine)


@behaviour("LST-4c", machines=1, transitions=2)
async def test_list_and_get_agree_after_a_binding(trial: Trial) -> None:
    machine = trial.machine
    since = (await expect.acked(trial.client.list(trial.found.states_to_list()))).response.revision
    await trial.bind(machine, cluster=machine.cluster, metadata=METADATA)
    await trial.drive(machine, Verb.DRAIN)
    await check_agree(trial, machine)
    if since:
        await check_agree(trial, machine, whole=True, since=since)


@behaviour("LST-4d")
async def test_list_and_get_agree_on_the_fleet(trial: Trial) -> None:
    since = trial.resting()
    stable = [m.id for m in await trial.undisturbed() if m.id and state_of(m.state).stable]
    suspects = set(trial.random.sample(stable, min(12, len(stable))))
    # Another client may move them: only machines count that Get shows at rest twice, while every List differs.
    async for last in poll_until_deadline(trial):
        before = {machine: await trial.client.get(machine) for machine in suspects}
        call = await expect.acked(trial.client.list())
        listed = {m.id: m for m in call.response.machines if m.id in suspects}
        elsewhere = trial.driven_elsewhere(since)
        suspects = {
            machine
            for machine, first in before.items()
            if machine not in elsewhere and await differs(trial, machine, first, listed.get(machine), last=last)
        }
        if not suspects:
            return


async def differs(trial: Trial, machine: str, first: Call, listed: pb.Machine | None, *, last: bool) -> bool:
    """Returns whether List still differs from the Gets before (`first`) and after it.

    At the `last` attempt, a difference is a Violation.
    """
    second = await trial.client.get(machine)
    if listed is not None and StatusCode.NOT_FOUND in (first.status, second.status):
        # It may just have been removed.
        if last and first.status is second.status:
            wanted = f"Get to find {machine}, which every List shows"
            expect.fact(False, wanted=wanted, got=second.outcome(), calls=[first, second])
        return True
    if not first.ok or not second.ok:
        return False
    before, after = expect.at_rest(first.response), expect.at_rest(second.response)
    changed = before != after or not state_of(after.state).stable
    if changed or (listed is not None and expect.at_rest(listed) == after):
        return False
    if last:
        if listed is None:
            raise NotObserved(f"List does not contain {machine}: LST-2 judges that")
        expect.same(after, listed, what=f"Get and List of {machine}")
    return True


@behaviour("LST-10a", machines=1, transitions=2)
async def test_list_knows_at_once_what_has_settled(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await fill_caches(trial, machine, verb)
        await trial.drive(machine, verb)
        await check_current(trial, machine, verb, EDGES[verb].target)


@behaviour("LST-10b", machines=1, transitions=2)
async def test_list_knows_at_once_what_was_accepted(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await fill_caches(trial, machine, verb)
        await expect.acked(machine.call(verb))
        await check_current(trial, machine, verb, EDGES[verb].via, EDGES[verb].target)
        await trial.bring(machine, EDGES[verb].target)


async def list_edge(trial: Trial, machine: Machine, verb: Verb) -> pb.Machine | None:
    """Returns the machine as a List of all three states of the verb's edge shows it, None if it does not."""
    edge = EDGES[verb]
    return await entry(trial, machine.id, edge.source, edge.via, edge.target)


async def fill_caches(trial: Trial, machine: Machine, verb: Verb) -> None:
    """Sends the Lists of `check_current`, so that a provider that caches them has cached the old state."""
    await list_edge(trial, machine, verb)
    if not trial.found.large:
        await entry(trial, machine.id)


async def check_current(trial: Trial, machine: Machine, verb: Verb, *states: State) -> None:
    """Checks that a List shows the machine in one of the states now."""
    lists = [await list_edge(trial, machine, verb)]
    if not trial.found.large:
        lists.append(await entry(trial, machine.id))
    for listed in lists:
        got = state_of(listed.state).name if listed is not None else "not in the List"
        wanted = f"List right after {verb.value} to show {machine.id} {' or '.join(s.name for s in states)}"
        expect.fact(listed is not None and state_of(listed.state) in states, wanted=wanted, got=got)
