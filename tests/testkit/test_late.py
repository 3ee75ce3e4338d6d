"""Tests of what a behaviour can look at again late in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.core.lifecycle import Verb
from conformance.engine.dry_run import run_on_virtual_clock
from conformance.results.result import Status
from conformance.testkit import expect
from tests.runs import SHORT, options_from, proof, provider

if TYPE_CHECKING:
    from conformance.testkit.trial import Trial


def test_a_quiet_behaviour_sees_the_marks_of_earlier_ones() -> None:
    seen: dict[str, Any] = {}

    async def early(trial: Trial) -> None:
        machine = trial.machine
        await expect.accepted(machine.drain(trial.new_shard().token(epoch=7, sequence=7)))
        await trial.drive(machine, Verb.CONFIGURE)
        await trial.drive(machine, Verb.DRAIN)
        await expect.accepted(trial.stranger("no-such-machine").drain(trial.new_shard().token(epoch=8, sequence=8)))

    async def late(trial: Trial) -> None:
        seen["tokens"] = {mark.numbers for _, _, mark in trial.oldest_marks(50)}
        seen["machines"] = {machine.id for machine, _, _ in trial.oldest_marks(50)}
        seen["some"] = len(trial.oldest_marks(2))
        for machine, verb, mark in trial.oldest_marks(50):
            await expect.fenced(machine.call(verb, mark.token))

    plan = (
        proof(early, "TST-1a", machines=1, transitions=2),
        proof(late, "TST-2a", machines=1, alone=True),
    )
    settings: dict[str, Any] = {"patience": SHORT, "rpc_timeout": 5.0, "connect_timeout": 5.0}
    report = run_on_virtual_clock(plan, provider(8, latency=0.03), options=options_from(**settings))
    assert [result.status for result in report.results] == [Status.PASSED] * 2
    assert {(7, 7), (8, 8)} <= seen["tokens"]
    assert "no-such-machine" in seen["machines"]
    assert seen["some"] == 2
