"""DUR-6: the backend's hosts after kills."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NotObserved
from conformance.core.lifecycle import Verb
from conformance.lanes.durability.kills import Edge, back, look, strike
from conformance.lanes.durability.moments import Phase, circle
from conformance.lanes.durability.outcome import go_on
from conformance.rpc.call import cut
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from conformance.fleet.backend import Backend
    from conformance.testkit.trial import Trial

PAUSE_S: Final = 0.1
PHASES: Final = (Phase.BEFORE_ACK, Phase.AFTER_ACK, Phase.MIDDLE)
"""The phases in which a Create or a Delete is cut short."""


@behaviour("DUR-6a", machines=1, creates=True, transitions=4, restarts=True)
async def test_every_host_that_runs_is_shown(trial: Trial) -> None:
    backend = trial.backend
    if backend is None:
        raise NotObserved("there is no backend to ask")
    foreign = await backend.hosts() - (await look(trial)).hosts
    machine = trial.machine
    for phase in PHASES:
        for moment in circle(phase, trial.random, deletes=True):
            if moment.verb not in (Verb.DELETE, Verb.CREATE):
                continue
            edge = Edge.of(trial, machine, moment.verb)
            before = await look(trial)
            if await strike(trial, edge, moment) is not None:
                await back(trial, before, moment, moving=[machine.id])
                if moment.retry:
                    await edge.send()
            result = await machine.settle()
            await all_shown(trial, backend, foreign, str(moment))
            machine = await go_on(trial, edge, result.machine)


async def all_shown(trial: Trial, backend: Backend, foreign: frozenset[str], when: str) -> None:
    """Expects every host that runs to be shown by a machine, except those that ran before and were not shown then.

    A host may take a while to end.
    """
    end = trial.client.now() + trial.patience.longest
    while lost := await backend.hosts() - (await look(trial)).hosts - foreign:
        if trial.client.now() >= end:
            break
        await asyncio.sleep(PAUSE_S)
    expect.fact(
        not lost,
        wanted=f"every host that the backend runs to be shown by a machine after {when}",
        got=f"{len(lost)} that no machine shows: {', '.join(cut(each) for each in sorted(lost)[:3])}",
    )
