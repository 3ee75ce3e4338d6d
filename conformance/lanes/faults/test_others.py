"""FLT-6, FLT-7: a failure changes no other machine, the fence works on it too, and no host is left unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.errors import NotObserved, SeenOnce, Unsupported
from conformance.core.lifecycle import State, Verb, state_of
from conformance.lanes.faults.judging import NO_TRIGGER, judge_failed, nothing_to_judge
from conformance.lanes.faults.recording import SHARED, failures
from conformance.lanes.faults.test_failing import FAILING
from conformance.rpc.call import cut, record
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.lanes.faults.specimens import Bystander, Failures, Specimen
    from conformance.testkit.trial import Trial


def bystanders_of(found: Failures) -> Sequence[Bystander]:
    """Returns the machines that rested while others failed. Raises Unsupported if none has failed."""
    if not any(found.failed()):
        nothing_to_judge(found.specimens, NO_TRIGGER)
    observed = [each for each in found.bystanders if not each.problem and each.after is not None]
    if not observed:
        raise NotObserved(f"not observed: {'; '.join(each.problem for each in found.bystanders)}")
    for each in observed:
        for call in (each.before, *([each.first] if each.first else []), *each.calls):
            record(call)
    return observed


@behaviour("FLT-6a", shares=SHARED, transitions=FAILING)
async def test_a_failure_changes_no_other_machine(trial: Trial) -> None:
    for each in bystanders_of(await failures(trial)):
        assert each.after is not None
        if not (each.before.ok and each.after.answered and each.after.ok):
            raise NotObserved(f"not observed: Get of {each.machine} answered {each.after.outcome()}")
        if state_of(each.after.response.state) is State.FAILED and trial.attempt == 1:
            # Its own host may be lost just now.
            raise SeenOnce(f"{each.machine} failed while others were made to fail")
        expect.same(each.before.response, each.after.response, what=f"{each.machine} not to change as others fail")


@behaviour("FLT-6b", shares=SHARED, transitions=FAILING)
async def test_a_failure_changes_no_mark_and_no_operation_of_others(trial: Trial) -> None:
    for each in bystanders_of(await failures(trial)):
        for before, again in each.spent:
            if before.answered and not before.busy and again.answered and not again.busy:
                await expect.fenced(again)
        if each.first is not None and each.retry is not None and each.retry.answered:
            expect.fact(
                each.retry.ok and each.retry.operation_id == each.first.operation_id,
                wanted=f"the retry of Configure of {each.machine}, which rests while others fail, to have operation id "
                f"{cut(each.first.operation_id)!r}",
                got=each.retry.outcome(),
                calls=[each.first, each.retry],
            )


@behaviour("FLT-6c", shares=SHARED, transitions=FAILING)
async def test_a_failed_machine_is_fenced(trial: Trial) -> None:
    found = await failures(trial)
    judge_failed(found, found.specimens, check_stale)


def check_stale(specimen: Specimen) -> bool:
    """Expects calls with a token from before the failure to be fenced."""
    calls = [call for call in specimen.stale if call.answered and not call.busy]
    for call in calls:
        expect.fact(
            call.fenced,
            wanted=f"{call.rpc} of {specimen.text}, FAILED, with the spent token {call.token} to be fenced: "
            "FAILED_PRECONDITION",
            got=call.outcome(),
            calls=[*([specimen.ack] if specimen.ack else []), call],
        )
    return bool(calls)


@behaviour("FLT-6d", shares=SHARED, transitions=FAILING)
async def test_a_call_that_a_failed_machine_refuses_moves_its_mark(trial: Trial) -> None:
    found = await failures(trial)
    judge_failed(found, found.specimens, check_marks)


def check_marks(specimen: Specimen) -> bool:
    """Expects the token of each refused call to be spent."""
    pairs = [(each.call, each.again) for each in specimen.fresh if each.again is not None]
    judged = [(call, again) for call, again in pairs if again.answered and not again.busy]
    for call, again in judged:
        expect.fact(
            again.fenced,
            wanted=f"{again.rpc} of {specimen.text}, FAILED, with the spent token {again.token} to be fenced: "
            "FAILED_PRECONDITION",
            got=again.outcome(),
            calls=[call, again],
        )
    return bool(judged)


@behaviour("FLT-7a", shares=SHARED, transitions=FAILING)
async def test_a_create_that_failed_leaves_no_host_that_is_not_shown(trial: Trial) -> None:
    found = await failures(trial)
    if found.hosts is None or not any(found.failed(Verb.CREATE)):
        if trial.backend is None:
            raise Unsupported("the backend cannot be asked for its hosts: no --hosts-cmd")
        if any(found.failed(Verb.CREATE)):
            raise NotObserved("not observed: the backend or List did not say which hosts there are")
        nothing_to_judge([each for each in found.specimens if each.trigger.verb is Verb.CREATE])
    assert found.hosts is not None
    hidden = sorted(found.hosts.hidden)
    expect.fact(
        not hidden,
        wanted="every host that runs after the Creates that failed to be shown by a machine",
        got=f"{', '.join(map(cut, hidden[:3]))} run, and no machine shows them",
    )
