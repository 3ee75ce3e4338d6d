"""DUR-1 and DUR-3: kills around the call of every verb, from the moment before its ack until its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.errors import Unsupported
from conformance.lanes.durability.kills import strike
from conformance.lanes.durability.moments import Phase, circle
from conformance.testkit.behaviour import behaviour
from conformance.testkit.outcome import go_on, judge
from conformance.testkit.restarted import Edge, back, look

if TYPE_CHECKING:
    from conformance.testkit.trial import Trial


@behaviour("DUR-1e", machines=1, creates=True, transitions=4, restarts=True)
async def test_what_was_acknowledged_immediately_before_a_kill_holds(trial: Trial) -> None:
    await around(trial, Phase.AFTER_ACK)


@behaviour("DUR-1f", machines=1, creates=True, transitions=4, restarts=True)
async def test_what_get_showed_at_rest_immediately_before_a_kill_holds(trial: Trial) -> None:
    await around(trial, Phase.SETTLED)


@behaviour("DUR-3a", machines=1, creates=True, transitions=4, restarts=True)
async def test_a_call_whose_answer_a_kill_has_cut_off_can_be_repeated(trial: Trial) -> None:
    await around(trial, Phase.BEFORE_ACK)


@behaviour("DUR-3b", machines=1, creates=True, transitions=4, restarts=True)
async def test_a_transition_that_was_cut_in_the_middle_ends_properly(trial: Trial) -> None:
    cut = await around(trial, Phase.MIDDLE)
    if not cut:
        raise Unsupported("no transition takes long enough to kill the provider in its middle")


async def around(trial: Trial, phase: Phase) -> int:
    """Takes an IDLE machine around all edges, with a kill at each; returns the number of kills.

    A machine that rests in FAILED afterwards, as it may, is replaced by another one.
    """
    machine, kills = trial.machine, 0
    for moment in circle(phase, trial.random, deletes=trial.found.delete):
        edge = Edge.of(trial, machine, moment.verb)
        before, shown = await look(trial), await machine.read()
        call = await strike(trial, edge, moment)
        if call is None:
            await machine.settle()
            continue
        kills += 1
        await back(trial, before, moment, moving=[machine.id])
        end = await judge(trial, edge, moment, call, shown)
        machine = await go_on(trial, edge, end)
    return kills
