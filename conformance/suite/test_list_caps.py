"""LST: max_results cuts the answer, after the filter and nowhere else (contract §7).

How many machines match may change between two Lists. What both the List before and the List after hold was
there all the time: of these a capped List may not hold fewer, and a few looks
tell who was only away for a moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance.core.lifecycle import State
from conformance.suite._list import ALL, ids, listing, only
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import poll_until_deadline
from conformance.testkit.trial import PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.testkit.trial import Trial

LARGEST: Final = 2**31 - 1


async def capped(trial: Trial, states: Sequence[State | int], cap: int) -> None:
    """List with a cap: never over it, nor short of it unless machines come and go at every look."""
    async for last in poll_until_deadline(trial):
        before = set(ids(await expect.acked(trial.client.list(states))))
        call = await expect.acked(trial.client.list(states, cap=cap))
        after = set(ids(await expect.acked(trial.client.list(states))))
        count, there = len(ids(call)), len(before & after)
        only(call, states)
        expect.fact(count <= cap, wanted=f"at most {cap} machines", got=count, calls=[call])
        if count >= min(cap, there):
            return
        wanted = f"{min(cap, there)} machines, as {there} match and the cap is {cap}"
        expect.fact(not last, wanted=wanted, got=count, calls=[call])


@behaviour("LST-2a", machines=3, bound=1)
async def test_a_cap_is_kept_and_used_up(trial: Trial) -> None:
    ours, both = trial.machines, [State.IDLE, State.CONFIGURED]
    count = len(ids(await listing(trial, both, inside=ours)))
    for cap in (1, 2, count - 1, count, count + 1, LARGEST):
        await capped(trial, both, cap)
    if trial.found.large:
        await listing(trial, cap=PAGE, least=PAGE)
        return
    everything = len(ids(await listing(trial, inside=ours)))
    for cap in (1, everything // 2, everything - 1, LARGEST):
        await capped(trial, (), cap)


@behaviour("LST-2b", machines=3, bound=1)
async def test_a_cap_comes_after_the_filter(trial: Trial) -> None:
    *idle, bound = trial.machines
    for states, ours in (([State.CONFIGURED], [bound]), ([State.IDLE], idle)):
        await listing(trial, states, inside=ours)
        for cap in range(1, len(ours) + 1):
            await listing(trial, states, cap=cap, least=cap)  # of ours alone there are enough


@behaviour("LST-2c", machines=1)
async def test_no_cap_means_the_whole_fleet(trial: Trial) -> None:
    apart: set[str] = {trial.machine.id}
    for state in trial.found.states_to_list() or ALL:
        apart |= set(ids(await expect.acked(trial.client.list([state]))))
    apart |= set(ids(await expect.acked(trial.client.list(cap=LARGEST))))
    apart |= set(trial.random.sample(trial.found.speculative, min(16, len(trial.found.speculative))))
    async for last in poll_until_deadline(trial):
        call = await expect.acked(trial.client.list())
        missing = sorted(apart - set(ids(call)))
        # A fleet may shrink: what is not listed may also be gone.
        there = [machine for machine in missing[:8] if (await trial.client.get(machine)).ok]
        if not there:
            return
        wanted = f"a List without cap to hold {there}, which are there"
        got = f"{len(ids(call))} machines, and {len(missing)} missing in all"
        expect.fact(not last, wanted=wanted, got=got, calls=[call])


@behaviour("LST-2d", machines=2)
async def test_a_negative_cap_is_refused_or_no_cap(trial: Trial) -> None:
    await listing(trial, [State.IDLE], inside=trial.machines)
    await uncapped(trial, [State.IDLE], -1)
    await uncapped(trial, [State.IDLE], -(2**31))
    await uncapped(trial, trial.found.states_to_list(), -1)


async def uncapped(trial: Trial, states: Sequence[State], cap: int) -> None:
    """List with a negative cap is INVALID_ARGUMENT, or holds all that was there before and after."""
    async for last in poll_until_deadline(trial):
        before = set(ids(await expect.acked(trial.client.list(states))))
        call = await expect.code(trial.client.list(states, cap=cap), StatusCode.OK, StatusCode.INVALID_ARGUMENT)
        after = set(ids(await expect.acked(trial.client.list(states))))
        missing = (before & after) - set(ids(call)) if call.ok else set()
        if not missing:
            return
        wanted = f"no cap at max_results {cap}"
        expect.fact(not last, wanted=wanted, got=f"{len(missing)} machines missing", calls=[call])
