"""FLT-2, FLT-3, FLT-5: a FAILED machine stays as it is, whatever arrives later, and whoever calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.lifecycle import EDGES, State, Verb
from conformance.lanes.faults.judging import judge_failed
from conformance.lanes.faults.recording import SHARED, failures
from conformance.lanes.faults.test_failing import FAILING
from conformance.rpc.call import cut, describe_machine
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from conformance.lanes.faults.specimens import OnFailed, Specimen
    from conformance.testkit.trial import Trial


@behaviour("FLT-2a", shares=SHARED, transitions=FAILING)
async def test_a_configure_that_succeeds_too_late_changes_nothing(trial: Trial) -> None:
    await discards_late_success(trial, Verb.CONFIGURE, "slow-ok")


@behaviour("FLT-2b", shares=SHARED, transitions=FAILING)
async def test_a_create_that_succeeds_too_late_changes_nothing(trial: Trial) -> None:
    await discards_late_success(trial, Verb.CREATE, "create-slow-ok")


async def discards_late_success(trial: Trial, verb: Verb, late: str) -> None:
    """Judges all failed transitions of a verb, if there is one that would succeed late."""
    found = await failures(trial)
    for specimen in found.failed(verb):
        if specimen.trigger.name != late and not never_late(specimen):
            judge_failed(found, [specimen], check_no_success)
    judge_failed(found, found.of(late), check_no_success)


def never_late(specimen: Specimen) -> bool:
    """Returns whether the FAILED machine never showed the target of its transition."""
    return all(reading.state is not EDGES[specimen.trigger.verb].target for reading in specimen.rest)


def check_no_success(specimen: Specimen) -> None:
    """Expects that the FAILED machine never shows the target of its transition, as long as it was watched."""
    target = EDGES[specimen.trigger.verb].target
    accepted = False
    for reading in specimen.rest:
        accepted = accepted or any(each.call.ok and each.after is reading for each in specimen.fresh)
        expect.fact(
            reading.state is not target or accepted,
            wanted=f"{specimen.text} to stay FAILED: a success that comes later is thrown away",
            got=describe_machine(reading.machine),
            calls=[specimen.rest[0].call, reading.call],
        )


@behaviour("FLT-3a", shares=SHARED, transitions=FAILING)
async def test_a_failed_machine_stays_failed(trial: Trial) -> None:
    found = await failures(trial)
    judge_failed(found, found.specimens, check_stays)


def check_stays(specimen: Specimen) -> None:
    """Expects FAILED in every reading; a late success is another behaviour's, and so is a call that was accepted."""
    target = EDGES[specimen.trigger.verb].target
    for reading in specimen.rest:
        if reading.state is target or any(each.call.ok and each.after is reading for each in specimen.fresh):
            return
        expect.fact(
            reading.state is State.FAILED,
            wanted=f"{specimen.text} to stay FAILED",
            got=describe_machine(reading.machine),
            calls=[specimen.rest[0].call, reading.call],
        )


@behaviour("FLT-3b", shares=SHARED, transitions=FAILING)
async def test_a_failed_machine_keeps_its_last_error(trial: Trial) -> None:
    found = await failures(trial)
    judge_failed(found, found.specimens, check_last_error)


def check_last_error(specimen: Specimen) -> None:
    """Expects the first last_error in every reading of FAILED; more details may be added to it."""
    first = specimen.rest[0]
    for reading in specimen.rest:
        if reading.state is not State.FAILED:
            return
        expect.fact(
            reading.machine.last_error and first.machine.last_error in reading.machine.last_error,
            wanted=f"{specimen.text} to keep last_error {cut(first.machine.last_error)!r}",
            got=f"last_error {cut(reading.machine.last_error)!r}",
            calls=[first.call, reading.call],
        )


@behaviour("FLT-3c", shares=SHARED, transitions=FAILING)
async def test_a_failed_machine_refuses_every_other_mutation(trial: Trial) -> None:
    found = await failures(trial)
    judge_failed(found, found.specimens, check_refusals)


def check_refusals(specimen: Specimen) -> bool:
    """Expects a refusal of each verb, except a retry of its own, and never FAILED_PRECONDITION."""
    judged = False
    for each in calls_on_failed(specimen):
        judged = True
        own = each.verb is specimen.trigger.verb
        expect.fact(
            not each.call.fenced and (own or not each.call.ok),
            wanted=f"{each.verb.value} of {specimen.text}, FAILED, to be refused, but not with FAILED_PRECONDITION",
            got=each.call.outcome(),
            calls=[each.before.call, each.call],
        )
    return judged


def calls_on_failed(specimen: Specimen) -> list[OnFailed]:
    """Returns the answered calls with fresh tokens before which the machine was seen FAILED."""
    return [each for each in specimen.fresh if each.before.state is State.FAILED and each.call.answered]


@behaviour("FLT-3d", shares=SHARED, transitions=FAILING)
async def test_get_and_list_agree_on_a_failed_machine(trial: Trial) -> None:
    found = await failures(trial)
    judge_failed(found, found.specimens, check_views)


def check_views(specimen: Specimen) -> bool:
    """Expects that List, also with states=[FAILED], and a delta show the machine as Get does."""
    views = specimen.views
    if views is None or specimen.rest[-1].state is not State.FAILED:
        return False
    for name, text in views.differences.items():
        expect.fact(
            False,
            wanted=f"{name} to show {specimen.text} as Get does: {describe_machine(views.get.response)}",
            got=text,
            calls=[views.get, views.listed[name][0]],
        )
    return True


@behaviour("FLT-5a", shares=SHARED, transitions=FAILING)
async def test_a_retry_of_a_failed_call_is_refused(trial: Trial) -> None:
    found = await failures(trial)
    judge_failed(found, found.specimens, check_retry)


def check_retry(specimen: Specimen) -> bool:
    """Expects a retry with the same target to be refused: it neither runs on nor has succeeded."""
    judged = False
    for each in calls_on_failed(specimen):
        if each.verb is not specimen.trigger.verb or each.cluster not in ("", specimen.trigger.value):
            continue
        judged = True
        expect.fact(
            not each.call.ok,
            wanted=f"a retry of the {each.verb.value} of {specimen.text}, which failed, to be refused",
            got=each.call.outcome(),
            calls=[each.before.call, each.call],
        )
    return judged


@behaviour("FLT-5b", shares=SHARED, transitions=FAILING)
async def test_no_call_starts_anything_on_a_failed_machine(trial: Trial) -> None:
    found = await failures(trial)
    judge_failed(found, found.specimens, check_nothing_starts)


def check_nothing_starts(specimen: Specimen) -> bool:
    """Expects a call of the same verb for another target to be refused, and the machine to be FAILED afterwards."""
    judged = False
    for each in calls_on_failed(specimen):
        if each.verb is not specimen.trigger.verb:
            continue
        judged = True
        other = each.cluster not in ("", specimen.trigger.value)
        expect.fact(
            not (other and each.call.ok) and each.after.state in (State.FAILED, EDGES[each.verb].target),
            wanted=f"{each.verb.value} of {specimen.text}, FAILED, to start nothing",
            got=f"{each.call.outcome()}, and then {describe_machine(each.after.machine)}",
            calls=[each.before.call, each.call, each.after.call],
        )
    return judged
