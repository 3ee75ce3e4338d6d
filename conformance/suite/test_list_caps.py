"""LST: max_results cuts the answer, after the filter and nowhere else (contract §7).

How many machines match may change between two Lists. What both the List before and the List after hold was
there all the time: of these a capped List may not hold fewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance import expect
from conformance.behaviour import behaviour
from conformance.lifecycle import State
from conformance.suite.test_list import ALL, holds, ids, once, one_bound, only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.call import Call
    from conformance.trial import Trial

LARGEST: Final = 2**31 - 1


async def capped(trial: Trial, states: Sequence[State | int], cap: int, before: set[str]) -> Call:
    """List with a cap, never over it and never short of it; `before` is what matched a moment ago."""
    call = await expect.acked(trial.client.list(states, cap=cap))
    after = set(ids(await expect.acked(trial.client.list(states))))
    count, there = len(ids(call)), len(before & after)
    expect.fact(count <= cap, wanted=f"at most {cap} machines", got=count, calls=[call])
    expect.fact(
        count >= min(cap, there),
        wanted=f"{min(cap, there)} machines, as {there} match and the cap is {cap}",
        got=count,
        calls=[call],
    )
    once(call)
    if states:
        only(call, states)
    return call


@behaviour("LST-2a", machines=3, transitions=1)
async def test_a_cap_is_kept_and_used_up(trial: Trial) -> None:
    idle, bound = await one_bound(trial)
    ours = [idle, bound, trial.machines[2]]
    both = [State.IDLE, State.CONFIGURED]
    before = set(ids(await holds(trial, ours, both, why="at rest")))
    count = len(before)
    for cap in (1, 2, count - 1, count, count + 1, LARGEST):
        await capped(trial, both, cap, before)
    everything = set(ids(await holds(trial, ours, why="at rest")))
    for cap in (1, len(everything) - 1, len(everything), LARGEST):
        await capped(trial, [], cap, everything)


@behaviour("LST-2b", machines=3, transitions=1)
async def test_a_cap_comes_after_the_filter(trial: Trial) -> None:
    idle, bound = await one_bound(trial)
    also_idle = trial.machines[2]
    for states, ours in (([State.CONFIGURED], [bound]), ([State.IDLE], [idle, also_idle])):
        await holds(trial, ours, states, why="at rest")
        for cap in range(1, len(ours) + 1):
            call = await expect.acked(trial.client.list(states, cap=cap))
            only(call, states)
            wanted = f"{cap} machines, as {len(ours)} of ours alone match"
            expect.fact(len(ids(call)) == cap, wanted=wanted, got=len(ids(call)), calls=[call])


@behaviour("LST-2c", machines=1)
async def test_no_cap_means_the_whole_fleet(trial: Trial) -> None:
    apart: set[str] = {trial.machine.id}
    for state in ALL:
        apart |= set(ids(await expect.acked(trial.client.list([state]))))
    apart |= set(ids(await expect.acked(trial.client.list(cap=LARGEST))))
    apart |= set(trial.random.sample(trial.found.speculative, min(16, len(trial.found.speculative))))
    call = await expect.acked(trial.client.list())
    missing = apart - set(ids(call))
    # A fleet may shrink: what is not listed must also be gone, or else be listed the next time.
    for machine_id in sorted(missing)[:8]:
        there = await trial.client.get(machine_id)
        again = set(ids(await expect.acked(trial.client.list())))
        expect.fact(
            machine_id in again or there.code is StatusCode.NOT_FOUND,
            wanted=f"a List without cap to hold {machine_id}, which is there",
            got=f"{len(again)} machines without it, and {len(missing)} missing in all",
            calls=[there, call],
        )


@behaviour("LST-2d", machines=2)
async def test_a_negative_cap_is_refused_or_no_cap(trial: Trial) -> None:
    for cap in (-1, -(2**31)):
        for states in ([State.IDLE], []):
            before = set(ids(await holds(trial, trial.machines, states, why="which are IDLE")))
            call = await expect.code(trial.client.list(states, cap=cap), StatusCode.OK, StatusCode.INVALID_ARGUMENT)
            after = set(ids(await expect.acked(trial.client.list(states))))
            if call.ok:
                missing = (before & after) - set(ids(call))
                expect.fact(
                    not missing, wanted=f"no cap at max_results {cap}", got=f"{len(missing)} missing", calls=[call]
                )
