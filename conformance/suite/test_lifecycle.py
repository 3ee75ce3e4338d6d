"""LIF: four edges, taken one at a time, and nothing else (contract §2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance import expect
from conformance.behaviour import behaviour
from conformance.lifecycle import EDGES, State, Verb

if TYPE_CHECKING:
    from conformance.trial import Trial


@behaviour("LIF-1a", machines=1, start=State.SPECULATIVE, transitions=4, creates=True)
async def test_the_whole_lifecycle(trial: Trial) -> None:
    machine = trial.machine
    await expect.rests(machine, State.SPECULATIVE)
    for verb in Verb:
        if verb is Verb.DELETE and not trial.found.delete:
            continue
        await expect.acked(machine.call(verb))
        await expect.settles(machine, verb)
        listed = await trial.list([EDGES[verb].target])
        ids = [m.id for m in listed.machines]
        expect.fact(
            machine.id in ids,
            wanted=f"List to show {machine.id} as {EDGES[verb].target.name}",
            got=f"{len(ids)} others",
        )
