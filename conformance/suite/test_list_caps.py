"""LST: max_results limits the number of machines, and is applied after the filter (contract §7).

The number of matching machines may change between two Lists. A machine in both the List before and the List after is
taken to match all the time, and a capped List must be filled with such machines. It is tried again for a while, as a
machine may be missing for a moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance.core.lifecycle import State
from conformance.suite._list import ALL_STATES, check_states, checked_list, ids_in
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import poll_until_deadline
from conformance.testkit.trial import PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.testkit.trial import Trial

INT32_MAX: Final = 2**31 - 1


async def check_cap(trial: Trial, states: Sequence[State | int], cap: int) -> None:
    """Checks that a List never exceeds its cap, and is filled up to it unless the fleet changes at every attempt."""
    async for last in poll_until_deadline(trial):
        before = set(ids_in(await expect.acked(trial.client.list(states))))
        call = await expect.acked(trial.client.list(states, cap=cap))
        after = set(ids_in(await expect.acked(trial.client.list(states))))
        count, stable = len(ids_in(call)), len(before & after)
        check_states(call, states)
        expect.fact(count <= cap, wanted=f"at most {cap} machines", got=f"{count} machines", calls=[call])
        if count >= min(cap, stable):
            return
        wanted = f"{min(cap, stable)} machines, as {stable} match and the cap is {cap}"
        expect.fact(not last, wanted=wanted, got=f"{count} machines", calls=[call])


@behaviour("LST-2a", machines=3, bound=1)
async def test_a_cap_is_kept_and_used_up(trial: Trial) -> None:
    ours, both = trial.machines, [State.IDLE, State.CONFIGURED]
    count = len(ids_in(await checked_list(trial, both, included=ours)))
    for cap in (1, 2, count - 1, count, count + 1, INT32_MAX):
        await check_cap(trial, both, cap)
    if trial.found.large:
        await checked_list(trial, cap=PAGE, least=PAGE)
        return
    everything = len(ids_in(await checked_list(trial, included=ours)))
    for cap in (1, everything // 2, everything - 1, INT32_MAX):
        await check_cap(trial, (), cap)


@behaviour("LST-2b", machines=3, bound=1)
async def test_a_cap_comes_after_the_filter(trial: Trial) -> None:
    *idle, bound = trial.machines
    for states, ours in (([State.CONFIGURED], [bound]), ([State.IDLE], idle)):
        await checked_list(trial, states, included=ours)
        for cap in range(1, len(ours) + 1):
            await checked_list(trial, states, cap=cap, least=cap)  # the leased machines alone are enough


@behaviour("LST-2c", machines=1)
async def test_no_cap_means_the_whole_fleet(trial: Trial) -> None:
    known: set[str] = {trial.machine.id}
    for state in trial.found.states_to_list() or ALL_STATES:
        known |= set(ids_in(await expect.acked(trial.client.list([state]))))
    known |= set(ids_in(await expect.acked(trial.client.list(cap=INT32_MAX))))
    known |= set(trial.random.sample(trial.found.speculative, min(16, len(trial.found.speculative))))
    async for last in poll_until_deadline(trial):
        call = await expect.acked(trial.client.list())
        missing = sorted(known - set(ids_in(call)))
        # A fleet may shrink: a machine that is not listed may no longer exist.
        existing = [machine for machine in missing[:8] if (await trial.client.get(machine)).ok]
        if not existing:
            return
        wanted = f"a List without max_results to contain {existing}, which Get shows"
        got = f"{len(ids_in(call))} machines; missing: {len(missing)} in total"
        expect.fact(not last, wanted=wanted, got=got, calls=[call])


@behaviour("LST-2d", machines=2)
async def test_a_negative_cap_is_refused_or_no_cap(trial: Trial) -> None:
    await checked_list(trial, [State.IDLE], included=trial.machines)
    await check_negative_cap(trial, [State.IDLE], -1)
    await check_negative_cap(trial, [State.IDLE], -(2**31))
    await check_negative_cap(trial, trial.found.states_to_list(), -1)


async def check_negative_cap(trial: Trial, states: Sequence[State], cap: int) -> None:
    """Checks that a negative cap is INVALID_ARGUMENT, or that the List contains all machines of those around it."""
    async for last in poll_until_deadline(trial):
        before = set(ids_in(await expect.acked(trial.client.list(states))))
        call = await expect.code(trial.client.list(states, cap=cap), StatusCode.OK, StatusCode.INVALID_ARGUMENT)
        after = set(ids_in(await expect.acked(trial.client.list(states))))
        missing = (before & after) - set(ids_in(call)) if call.ok else set()
        if not missing:
            return
        wanted = f"max_results {cap} to be refused, or not to limit the List"
        expect.fact(not last, wanted=wanted, got=f"{len(missing)} machines missing", calls=[call])
