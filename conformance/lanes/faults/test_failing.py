"""FLT-1: a transition that fails ends in FAILED, with last_error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.errors import Unsupported
from conformance.core.lifecycle import State
from conformance.lanes.faults.settings import settings_of
from conformance.rpc.call import describe_machine
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from conformance.testkit.trial import Trial


@behaviour("FLT-1a", machines=1, transitions=1)
async def test_a_configure_that_fails_ends_in_failed(trial: Trial) -> None:
    machine, trigger = trial.machine, settings_of(trial).triggers["error"]
    await trial.begin(machine, trigger.verb, machine.configure(cluster=trigger.value))
    result = await machine.settle()
    if result.state is State.CONFIGURED:
        raise Unsupported(f"{trigger.text} has no effect: the provider does not have this trigger")
    expect.fact(
        result.state is State.FAILED and result.machine.last_error,
        wanted=f"{machine.id} to end in FAILED with last_error after a Configure that fails",
        got=describe_machine(result.machine),
    )
