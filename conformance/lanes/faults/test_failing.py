"""FLT-1, FLT-4: a transition that fails ends in FAILED, with last_error, and shows nothing better before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.lifecycle import EDGES, State, Verb
from conformance.lanes.faults.judging import judge_each, judge_failed
from conformance.lanes.faults.recording import SHARED, failures
from conformance.lanes.faults.specimens import Effect
from conformance.rpc.call import describe_machine
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from conformance.lanes.faults.specimens import Specimen
    from conformance.testkit.trial import Trial

FAILING = 8
"""The number of transitions that the recording takes at most: lives and bindings before, and the watch after."""


async def ends_in_failed(trial: Trial, name: str) -> None:
    """Judges the ends of the transitions with this trigger."""
    judge_each((await failures(trial)).of(name), check_end)


def check_end(specimen: Specimen) -> bool:
    """Expects FAILED with last_error. Returns False if the trigger had no effect."""
    end, verb = specimen.end, specimen.trigger.verb
    if specimen.effect in (Effect.NONE, Effect.REFUSED) or end is None:
        return False
    shown = end.machine
    if specimen.effect is Effect.GIVEN_UP:
        expect.fact(
            not (shown.cluster or shown.shard_metadata or shown.last_error),
            wanted=f"{specimen.machine}, whose Configure was given up, to show nothing of it in IDLE",
            got=describe_machine(shown),
            calls=[end.call],
        )
        return True
    late = f" after {specimen.seconds:.1f} s (--patience)" if specimen.effect is Effect.STUCK else ""
    expect.fact(
        specimen.failed and shown.last_error,
        wanted=f"{specimen.text} to end in FAILED with last_error after a {verb.value} that fails",
        got=f"{describe_machine(shown)}{late}",
        calls=[end.call],
    )
    return True


@behaviour("FLT-1a", shares=SHARED, transitions=FAILING)
async def test_a_configure_that_fails_ends_in_failed(trial: Trial) -> None:
    await ends_in_failed(trial, "error")


@behaviour("FLT-1b", shares=SHARED, transitions=FAILING)
async def test_a_configure_that_takes_too_long_ends_in_failed(trial: Trial) -> None:
    await ends_in_failed(trial, "timeout")


@behaviour("FLT-1c", shares=SHARED, transitions=FAILING)
async def test_a_configure_that_would_succeed_too_late_ends_in_failed(trial: Trial) -> None:
    await ends_in_failed(trial, "slow-ok")


@behaviour("FLT-1d", shares=SHARED, transitions=FAILING)
async def test_a_drain_that_fails_ends_in_failed(trial: Trial) -> None:
    await ends_in_failed(trial, "drain-error")


@behaviour("FLT-1e", shares=SHARED, transitions=FAILING)
async def test_a_create_that_fails_ends_in_failed(trial: Trial) -> None:
    await ends_in_failed(trial, "create-error")


@behaviour("FLT-1f", shares=SHARED, transitions=FAILING)
async def test_a_create_that_takes_too_long_ends_in_failed(trial: Trial) -> None:
    await ends_in_failed(trial, "create-timeout")


@behaviour("FLT-1g", shares=SHARED, transitions=FAILING)
async def test_a_create_that_would_succeed_too_late_ends_in_failed(trial: Trial) -> None:
    await ends_in_failed(trial, "create-slow-ok")


@behaviour("FLT-1h", shares=SHARED, transitions=FAILING)
async def test_a_create_or_drain_that_fails_is_never_seen_to_succeed(trial: Trial) -> None:
    found = await failures(trial)
    verbs = (Verb.CREATE, Verb.DRAIN)
    judge_failed(found, [each for each in found.specimens if each.trigger.verb in verbs], never_at_target)


@behaviour("FLT-4a", shares=SHARED, transitions=FAILING)
async def test_a_node_that_never_becomes_ready_ends_in_failed(trial: Trial) -> None:
    await ends_in_failed(trial, "readiness-block")


@behaviour("FLT-4b", shares=SHARED, transitions=FAILING)
async def test_a_configure_that_fails_is_never_seen_configured(trial: Trial) -> None:
    found = await failures(trial)
    judge_failed(found, [each for each in found.specimens if each.trigger.verb is Verb.CONFIGURE], never_at_target)


def never_at_target(specimen: Specimen) -> None:
    """Expects that neither the ack nor a reading showed the target of the transition before it failed."""
    target: State = EDGES[specimen.trigger.verb].target
    for reading in specimen.path:
        expect.fact(
            reading.state is not target,
            wanted=f"{specimen.text} not to be {target.name} before its {specimen.trigger.verb.value} fails",
            got=f"{reading.where} shows {describe_machine(reading.machine)}",
            calls=[reading.call],
        )
