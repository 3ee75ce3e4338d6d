"""DUR-6: the backend's hosts after kills."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NotObserved, Unsupported
from conformance.core.lifecycle import State, Verb, state_of
from conformance.lanes.durability.kills import strike
from conformance.lanes.durability.moments import Phase, circle
from conformance.rpc.call import cut
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.outcome import go_on
from conformance.testkit.restarted import Edge, back, look

if TYPE_CHECKING:
    from conformance.fleet.backend import Backend
    from conformance.testkit.snapshot import Snapshot
    from conformance.testkit.trial import Trial

PAUSE_S: Final = 0.1
MAX_LAG_S: Final = 60.0
"""The time that a backend may take to end a host, in seconds; never longer than the run's patience."""
PHASES: Final = (Phase.BEFORE_ACK, Phase.AFTER_ACK, Phase.MIDDLE)
"""The phases in which a Create or a Delete is cut short."""
HIDING: Final = (State.CREATING, State.FAILED)
"""The states in which a machine may have a host that it does not show."""


@behaviour("DUR-6a", machines=1, creates=True, transitions=4, restarts=True)
async def test_every_host_that_runs_is_shown(trial: Trial) -> None:
    backend = trial.backend
    if backend is None:
        raise NotObserved("there is no backend to ask")
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
            await all_shown(trial, backend, str(moment))
            machine = await go_on(trial, edge, result.machine)


async def all_shown(trial: Trial, backend: Backend, when: str) -> None:
    """Expects each host that runs to be shown by a machine, except those that ran before the run and were not shown.

    A host may take a while to end. One that runs may be that of a machine that is CREATING or FAILED.
    """
    foreign = trial.hosts_before.running - trial.hosts_before.shown.keys()
    end = trial.client.now() + min(MAX_LAG_S, trial.patience.longest)
    while True:
        running, fleet = await backend.hosts(), await look(trial)
        lost = sorted(running - fleet.hosts - foreign)
        if not lost or trial.client.now() >= end:
            break
        await asyncio.sleep(PAUSE_S)
    if lost and hiding(fleet) >= len(lost):
        raise Unsupported(f"{len(lost)} hosts may be those of machines that are CREATING or FAILED and show none")
    expect.fact(
        not lost,
        wanted=f"every host that the backend runs to be shown by a machine after {when}",
        got=f"{len(lost)} that no machine shows: {', '.join(cut(each) for each in lost[:3])}",
    )


def hiding(fleet: Snapshot) -> int:
    """Returns the number of machines that may have a host that they do not show."""
    machines = fleet.machines.values()
    return sum(state_of(each.state) in HIDING and not each.host.ref for each in machines)
