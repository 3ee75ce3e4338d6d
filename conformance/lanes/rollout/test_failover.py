"""ROL-5: a stand-by takes over when the serving replica was killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NotObserved, TargetError, Violation
from conformance.core.lifecycle import State, Verb
from conformance.lanes.rollout.settings import RolloutSettings
from conformance.lanes.rollout.stops import at_rest, has_new_ids, is_as_it_was, judge_all, marks_hold, marks_of
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.restarted import Edge, back, look
from conformance.testkit.snapshot import Snapshot, differences

if TYPE_CHECKING:
    from collections.abc import Collection

    from conformance.testkit.trial import Trial

TAKEOVER: Final = "a kill of the serving replica"
LOOK_S: Final = 1.0
"""The longest time for one call to an address that may not serve."""
PAUSE_S: Final = 0.02


@behaviour("ROL-5a", machines=4, start=State.IDLE, bound=1, transitions=5, restarts=True)
async def test_a_stand_by_knows_all_that_was_acknowledged(trial: Trial) -> None:
    drained, bound, *moving = trial.machines
    rest = await at_rest(trial, drained, bound)
    marks = await marks_of(trial, (drained, bound))
    edges = [Edge.of(trial, moving[0], Verb.CONFIGURE), Edge.of(trial, moving[1], Verb.DRAIN)]
    seen, before = {edge.machine.id: await edge.machine.read() for edge in edges}, await look(trial)
    async with trial.client.another() as client:
        await client.wait_until_connected()
        number = trial.restarts.replicas.serving
        sent = [(edge, await edge.send(client=client)) for edge in edges]
        await trial.restarts.kill_replica(number)
    await serves_again(trial)
    await back(trial, before, TAKEOVER, moving=seen.keys(), starts=False)
    await known_everywhere(trial, before, moving=seen.keys())
    await is_as_it_was(rest, TAKEOVER)
    await marks_hold(marks)
    await judge_all(trial, sent, seen, TAKEOVER)
    await has_new_ids(trial, rest, TAKEOVER)
    await revive(trial, number)


@behaviour("ROL-5b", machines=1, start=State.IDLE, restarts=True)
async def test_a_stand_by_takes_over_in_time(trial: Trial) -> None:
    before = await look(trial)
    async with trial.client.another() as client:
        await client.wait_until_connected()
        number = trial.restarts.replicas.serving
    settings = trial.settings
    limit = settings.failover_within if isinstance(settings, RolloutSettings) else None
    began = trial.client.now()
    await trial.restarts.kill_replica(number)
    try:
        seconds = await serves_again(trial)
    except NotObserved:
        hold_to(limit, trial.client.now() - began)
        raise
    await back(trial, before, TAKEOVER, starts=False)
    await revive(trial, number)
    trial.note(f"after {TAKEOVER}, the address did not serve for {seconds:.1f} s")
    hold_to(limit, seconds)


def hold_to(limit: float | None, seconds: float) -> None:
    """Expects the address to have served again within the limit, if there is one."""
    expect.fact(
        limit is None or seconds <= limit,
        wanted=f"the address to serve within {limit or 0:g} s of {TAKEOVER} (--failover-within)",
        got=f"it did not serve for {seconds:.1f} s",
    )


async def known_everywhere(trial: Trial, before: Snapshot, *, moving: Collection[str]) -> None:
    """Expects each replica that serves, asked without the balancer, to list the machines of the run as they were."""
    own, replicas = trial.own_machines(), trial.restarts.replicas
    for number in range(len(replicas.members)):
        if not await replicas.look(number):
            continue
        async with trial.client.another(target=replicas.target_of(number)) as client:
            call = await client.list(since=trial.found.since)
        shown = Snapshot.of(call.response) if call.answered_ok else before
        for found in differences(before, shown, own=own, moving=moving):
            if found.machine in own:
                raise Violation(f"{found.wanted}, at replica {number + 1} after {TAKEOVER}", found.got, calls=[call])


async def serves_again(trial: Trial) -> float:
    """Waits until List is answered over a new connection; returns the seconds. Raises NotObserved."""
    began = trial.client.now()
    while trial.client.now() - began < trial.patience.longest:
        async with trial.client.another() as client:
            call = await client.list(cap=1)
            if call.answered_ok:
                return call.ended - began
        await asyncio.sleep(PAUSE_S)
    raise NotObserved(f"no replica has taken over within {trial.patience.longest:g} s of {TAKEOVER}")


async def revive(trial: Trial, number: int) -> None:
    """Starts the killed replica again. Raises NotObserved."""
    try:
        await trial.restarts.start_replica(number)
    except TargetError as error:
        raise NotObserved(f"replica {number + 1}: {error.message}") from error
