"""The model and FAILED: it rests until it is repaired, and only that explains another state (FLT-3)."""

from __future__ import annotations

import pytest

from conformance.core.lifecycle import State, Verb
from tests.fleet.model.telling import Telling, machine

S = State


def failed() -> Telling:
    """A model that has seen a Configure fail."""
    told = Telling()
    told.got(S.IDLE)
    told.did(Verb.CONFIGURE)
    told.got(S.FAILED)
    return told


@pytest.mark.parametrize("state", [S.CONFIGURED, S.CONFIGURING, S.CREATING, S.DRAINING])
def test_a_failed_machine_that_goes_on_is_a_breach(state: State) -> None:
    told = failed()
    told.got(state)
    assert told.found[0] == "LIF-3a"
    assert [call.rpc for call in told.model.breaches[0].calls] == ["Get", "Get"]


@pytest.mark.parametrize("state", [S.FAILED, S.SPECULATIVE, S.DELETING, S.IDLE])
def test_a_failed_machine_may_rest_or_be_cleaned_up(state: State) -> None:
    told = failed()
    told.got(state)
    assert told.found == []


@pytest.mark.parametrize("restarted", [False, True])
def test_nothing_is_known_of_a_failed_machine_after_a_repair_or_a_restart(*, restarted: bool) -> None:
    told = failed()
    if restarted:
        told.restarts()
    else:
        told.model.repaired("m1")
    told.got(S.CONFIGURED)
    assert told.found == []


def test_a_call_without_an_answer_may_explain_another_state() -> None:
    told = failed()
    told.did(Verb.CONFIGURE, answered=False)
    told.got(S.CONFIGURED)
    assert told.found == []


def test_a_failed_machine_may_lose_its_host_and_zone() -> None:
    told = failed()
    told.got(S.FAILED, host=None, zone="")
    told.listed(machine(S.FAILED, zone="z", instance_type="other"))
    assert told.found == []
