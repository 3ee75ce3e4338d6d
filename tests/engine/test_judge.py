from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core import errors
from conformance.core.catalogue import Level
from conformance.core.fencing import Shard
from conformance.core.lifecycle import State, Verb
from conformance.engine.judge import decisive_calls, outcome
from conformance.engine.retries import MAX_ATTEMPTS, RetryReason, classify
from conformance.fleet.machine import Machine
from conformance.fleet.needs import Needs
from conformance.fleet.pool import MAX_FAILURES_IN_A_ROW
from conformance.results.report import Report
from conformance.results.result import Status
from conformance.rpc.backoff import OverloadTracker
from conformance.rpc.call import note_unanswered, record
from conformance.rpc.client import LOST_CONNECTION_DELAYS, Client
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour, declaration_of
from fake_provider.core import Core
from fake_provider.servicer import Servicer
from tests.runs import entry, judged, proof, provider
from tests.values import a_call

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial


def run(*plan: object, core: Core | None = None, **options: object) -> Report:
    return asyncio.run(judged(plan, core, **options))  # type: ignore[arg-type]


def test_a_body_that_returns_has_passed() -> None:
    assert outcome(entry(), None) == (Status.PASSED, "", "", "")


@pytest.mark.parametrize(
    ("level", "status"),
    [(Level.MUST, Status.FAILED), (Level.SHOULD, Status.WARNED), (Level.MAY, Status.SKIPPED)],
)
def test_the_status_of_a_violation_depends_on_the_level(level: Level, status: Status) -> None:
    broken = errors.Violation("this", "that")
    assert outcome(entry("FEN-1a", level=level), broken) == (status, "FEN-1: wanted this; got that", "this", "that")


def test_the_calls_named_by_a_violation_are_decisive_or_the_last_one() -> None:
    calls = [a_call(), a_call(), a_call()]
    assert decisive_calls(errors.Violation("this", "that", calls=calls[:2]), calls) == (0, 1)
    assert decisive_calls(errors.Violation("this", "that"), calls) == (2,)
    assert decisive_calls(errors.Violation("this", "that"), []) == ()
    assert decisive_calls(errors.Undecided("x"), calls) == ()


def test_a_violation_of_the_fence_includes_the_call_that_set_the_mark() -> None:
    def drain(shard: str, epoch: int, sequence: int, *, ok: bool = True) -> Call:
        request = pb.DrainRequest(machine_id="m", shard_id=shard, shard_epoch=epoch, sequence_number=sequence)
        fence = grpc.StatusCode.FAILED_PRECONDITION
        return a_call("Drain", request, code=grpc.StatusCode.OK if ok else fence)

    calls = [
        drain("s", 1, 1),
        drain("s", 3, 1),
        drain("s", 2, 9),
        drain("s", 4, 1, ok=False),
        drain("t", 9, 9),
        a_call(),
        drain("s", 1, 5),
    ]
    assert decisive_calls(errors.Violation("Drain to be fenced", "OK", calls=calls[-1:]), calls) == (1, 6)
    assert decisive_calls(errors.Violation("Drain to be answered OK", "ABORTED", calls=calls[-1:]), calls) == (6,)


def test_a_missing_optional_capability_is_skipped() -> None:
    assert outcome(entry(), errors.Unsupported("no Delete")) == (Status.SKIPPED, "no Delete", "", "")


def test_a_violation_of_another_clause_is_an_error_that_names_it() -> None:
    broken = errors.Violation("this", "that", clauses=["OPS-2", "FEN-1"])
    assert outcome(entry("FEN-1a"), broken)[0] is Status.FAILED
    error = (Status.ERROR, "wanted this; got that; behaviours of OPS-2 and FEN-1 judge that", "", "")
    assert outcome(entry("LIF-1a"), broken) == error


@pytest.mark.parametrize(
    "error",
    [
        errors.Undecided("x"),
        errors.Unprepared("x"),
        errors.NotObserved("x"),
        errors.NoAnswer("x"),
        errors.Shortage("x"),
        errors.BudgetSpent("x"),
        errors.Disturbed("x"),
        errors.TargetLost("x"),
        errors.UsageError("x"),
    ],
)
def test_errors_of_the_kit_or_the_target_are_never_failures(error: Exception) -> None:
    assert outcome(entry(), error) == (Status.ERROR, "x", "", "")


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError("x"), OSError("x")])
def test_a_bug_of_the_kit_is_an_error_that_says_so(error: Exception) -> None:
    reason = f"the kit itself failed: {type(error).__name__}: {error}"
    assert outcome(entry(), error) == (Status.ERROR, reason, "", "")


BUSY = a_call(code=grpc.StatusCode.UNAVAILABLE)
CUT_OFF = a_call(code=grpc.StatusCode.UNAVAILABLE, answered=False)
OVERLOAD, LOST_CONNECTION = RetryReason.OVERLOAD, RetryReason.LOST_CONNECTION
OTHER_CLIENT, INTERFERENCE = RetryReason.OTHER_CLIENT, RetryReason.INTERFERENCE


@pytest.mark.parametrize(
    ("error", "calls", "reasons"),
    [
        (None, [BUSY], ()),
        (errors.Unsupported("x"), [BUSY, CUT_OFF], ()),
        (errors.Violation("x", "y"), [a_call(), CUT_OFF], ()),
        (errors.Violation("x", "y"), [a_call(), BUSY], (OVERLOAD,)),
        (errors.NoAnswer("x"), [a_call()], (OTHER_CLIENT,)),
        (errors.NoAnswer("x"), [BUSY, CUT_OFF], (LOST_CONNECTION, OTHER_CLIENT)),
        (errors.NotObserved("x"), [CUT_OFF], (LOST_CONNECTION, OTHER_CLIENT)),
        (errors.Unprepared("x"), [BUSY], (OVERLOAD, OTHER_CLIENT)),
        (errors.Disturbed("x"), [BUSY], (OTHER_CLIENT, INTERFERENCE)),
        (errors.BudgetSpent("x"), [BUSY], (OTHER_CLIENT,)),
    ],
)
def test_why_an_attempt_may_be_repeated(error: Exception | None, calls: list[Call], reasons: object) -> None:
    status = outcome(entry(), error)[0]
    assert classify(error, status, calls, overload=OverloadTracker(), slots=False, quarantined=False) == reasons


def test_another_client_is_suspected_of_a_violation_only_if_it_is_about_slots() -> None:
    broken = errors.Violation("x", "y")
    assert classify(broken, Status.FAILED, [], overload=OverloadTracker(), slots=True, quarantined=False) == (
        OTHER_CLIENT,
    )


def test_other_machines_are_tried_only_after_a_quarantine() -> None:
    unprepared, bad = errors.Unprepared("x"), RetryReason.BAD_MACHINE
    assert classify(unprepared, Status.ERROR, [], overload=OverloadTracker(), slots=False, quarantined=True)[-1] is bad
    # Other machines help only if these could not be prepared.
    assert bad not in classify(
        errors.NoAnswer("x"), Status.ERROR, [], overload=OverloadTracker(), slots=False, quarantined=True
    )


def test_a_provider_that_rejects_nearly_all_calls_is_not_overloaded() -> None:
    overload = OverloadTracker()
    for number in range(500):
        overload.add(replace(BUSY, started=float(number), ended=float(number)))
    assert not overload.tolerable
    reasons = classify(errors.NoAnswer("x"), Status.ERROR, [BUSY], overload=overload, slots=False, quarantined=False)
    assert reasons == (OTHER_CLIENT,)


def test_every_reason_has_a_limit() -> None:
    assert MAX_ATTEMPTS.keys() == set(RetryReason)


def test_a_body_gets_the_options_of_the_run() -> None:
    given: list[tuple[str | None, int, str]] = []

    async def keeps(trial: Trial) -> None:
        given.append((trial.fence_scope, trial.examples, trial.unique("x").rpartition("-tst-1a-")[2]))
        if len(given) == 1:
            raise errors.Disturbed("another client has it")

    run(proof(keeps, machines=1), fence_scope="shard-machine", examples=7)
    assert given == [("shard-machine", 7, "1-x1"), ("shard-machine", 7, "2-x1")]


def test_a_result_has_only_the_calls_of_its_behaviour() -> None:
    met = asyncio.Event()

    async def one(trial: Trial) -> None:
        await met.wait()
        await trial.machine.get()

    async def other(trial: Trial) -> None:
        await trial.machine.get()
        met.set()

    report = run(
        proof(one, "TST-1a", machines=1, start=State.SPECULATIVE),
        proof(other, "TST-1b", machines=1, start=State.SPECULATIVE),
    )
    for result in report.results:
        assert {call.machine_id for call in result.calls} == set(result.machines)
        assert [call.rpc for call in result.calls] == ["Get", "Get"]  # one to prepare the machine, one of the body


class OtherClient:
    """A body in which another client creates the leased machine."""

    def __init__(self, *, times: int) -> None:
        self.took: list[str] = []
        self._times = times

    async def __call__(self, trial: Trial) -> None:
        machine = trial.machine
        if len(self.took) < self._times:
            self.took.append(machine.id)
            await trial.client.create(machine.id, Shard("foreign").token(epoch=1, sequence=len(self.took)))
        await machine.read()


def test_a_disturbed_behaviour_is_judged_on_another_machine() -> None:
    core, other_client = provider(8), OtherClient(times=1)
    report = run(proof(other_client, machines=1, start=State.SPECULATIVE, creates=True), core=core)
    (result,) = report.results
    assert result.status is Status.PASSED
    assert result.machines != tuple(other_client.took)
    assert core.machines[other_client.took[0]].state.name == "IDLE", "machines of other clients are left alone"
    assert report.home.clean


def test_the_last_attempt_blames_the_provider_for_changes() -> None:
    core, other_client = provider(16), OtherClient(times=MAX_ATTEMPTS[RetryReason.OTHER_CLIENT] + 1)
    report = run(proof(other_client, machines=1, start=State.SPECULATIVE, creates=True), core=core)
    assert len(other_client.took) == MAX_ATTEMPTS[RetryReason.OTHER_CLIENT]
    assert report.results[0].status is Status.PASSED, "this body accepts the change"


class Lossy(Servicer):
    """Closes the connection of Gets while `losing`."""

    losing: ClassVar[list[int]] = []

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.losing and self.losing[-1] > 0:
            self.losing[-1] -= 1
            context.set_details("Stream removed (test)")
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Stream removed (test)")
        return await super().Get(request, context)


LOST_GET = len(LOST_CONNECTION_DELAYS) + 1
"""The number of times that a Get is cut off before the kit gives it up."""


def test_lost_connections_do_not_blame_the_provider_for_a_change() -> None:
    blamed = list[bool]()

    async def body(trial: Trial) -> None:
        machine = trial.machine
        blamed.append(machine.policy.blames_provider)
        if len(blamed) < MAX_ATTEMPTS[RetryReason.INTERFERENCE]:
            Lossy.losing = [LOST_GET]
        await machine.read()

    report = run(proof(body, machines=1, start=State.SPECULATIVE), serve={"servicer": Lossy})
    assert report.results[0].status is Status.PASSED
    assert blamed == [False] * MAX_ATTEMPTS[RetryReason.INTERFERENCE]


def test_a_violation_under_load_is_judged_again_after_a_lost_connection() -> None:
    attempts = list[int]()

    async def body(trial: Trial) -> None:
        attempts.append(trial.attempt)
        if trial.attempt == 1:
            record(a_call(code=grpc.StatusCode.UNAVAILABLE))
            raise errors.Violation("this", "that")
        if trial.attempt == 2:
            Lossy.losing = [LOST_GET]
            await trial.machine.read()

    report = run(proof(body, machines=1, start=State.SPECULATIVE), serve={"servicer": Lossy})
    assert (report.results[0].status, attempts) == (Status.PASSED, [1, 2, 3])


def test_an_attempt_after_a_lost_connection_is_not_the_one_in_which_nothing_else_runs() -> None:
    attempts = list[tuple[int, bool]]()

    async def body(trial: Trial) -> None:
        attempts.append((trial.attempt, trial.late))
        if trial.attempt == 1:
            Lossy.losing = [LOST_GET]
            await trial.machine.read()
        if trial.attempt == 2:
            raise errors.KitTooSlow("late")

    report = run(proof(body, machines=1, start=State.SPECULATIVE), serve={"servicer": Lossy})
    assert (report.results[0].status, attempts) == (Status.PASSED, [(1, False), (2, False), (3, True)])


def test_an_attempt_in_which_a_fault_dropped_an_answer_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = list[int]()
    monkeypatch.setattr(Client, "may_have_dropped_since", lambda client, since: True)

    async def body(trial: Trial) -> None:
        attempts.append(trial.attempt)
        if trial.attempt == 1:
            note_unanswered(replace(a_call(code=grpc.StatusCode.DEADLINE_EXCEEDED), answered=False))

    report = run(proof(body, machines=1, start=State.SPECULATIVE))
    assert (report.results[0].status, attempts) == (Status.PASSED, [1, 2])


def test_a_violation_under_load_outlives_an_attempt_that_decides_nothing() -> None:
    async def body(trial: Trial) -> None:
        if trial.attempt == 1:
            record(a_call(code=grpc.StatusCode.UNAVAILABLE))
            raise errors.Violation("this", "that")
        raise errors.Unprepared("it will not go")

    report = run(proof(body, machines=1, start=State.SPECULATIVE))
    assert report.results[0].status is Status.FAILED


def test_an_error_while_another_client_is_active_is_judged_again() -> None:
    core, attempts = provider(8), list[str]()

    async def puzzled(trial: Trial) -> None:
        attempts.append(trial.machine.id)
        if len(attempts) == 1:
            stranger = next(each for each in core.machines if each != trial.machine.id)
            await trial.client.create(stranger, Shard("foreign").next())
            raise errors.Unprepared("it was drained under us")

    report = run(proof(puzzled, machines=1, start=State.IDLE), core=core)
    assert (report.results[0].status, len(attempts)) == (Status.PASSED, 2)


def test_another_client_seen_once_allows_further_attempts() -> None:
    core, attempts, strangers = provider(8), list[str](), list[str]()

    async def puzzled(trial: Trial) -> None:
        attempts.append(trial.machine.id)
        shard = Shard("foreign")
        if len(attempts) == 1:
            strangers.append(next(each for each in core.machines if each != trial.machine.id))
            await trial.client.create(strangers[0], shard.token(epoch=1, sequence=1))
        else:
            await trial.client.delete(strangers[0], shard.token(epoch=1, sequence=len(attempts)))
        if len(attempts) < 3:
            raise errors.Unprepared("it was drained under us")

    report = run(proof(puzzled, machines=1, start=State.IDLE), core=core)
    assert (report.results[0].status, len(attempts)) == (Status.PASSED, 3)


def test_an_error_without_another_client_is_not_judged_again() -> None:
    attempts = list[str]()

    async def puzzled(trial: Trial) -> None:
        attempts.append(trial.machine.id)
        raise errors.Unprepared("it will not go")

    report = run(proof(puzzled, machines=1, start=State.IDLE), core=provider(8))
    assert (report.results[0].status, len(attempts)) == (Status.ERROR, 1)


class FirstFails(Core):
    """The first Create ends in FAILED."""

    spent = False

    def settle(self, machine):  # type: ignore[no-untyped-def]
        settled = super().settle(machine)
        if machine.operation.verb == "create" and not self.spent:
            self.spent = True
            return self.failed(settled, "no capacity today")
        return settled


async def idle(trial: Trial) -> None:
    assert trial.machine.state is State.IDLE


def test_a_machine_that_cannot_be_prepared_is_quarantined_and_another_one_is_judged() -> None:
    core = provider(8, cls=FirstFails, latency=0.005)
    report = run(proof(idle, machines=1), core=core)
    assert report.results[0].status is Status.PASSED
    ((machine, reason),) = report.quarantined
    assert "FAILED after Create: no capacity today" in reason
    ((failed, why),) = report.home.failed
    assert (failed, why.partition(" (its host costs ")[0]) == (machine, "no capacity today")
    assert (report.home.left, report.exit_code) == ((), 0)


class AllFail(FirstFails):
    """Every Create ends in FAILED."""

    @property
    def spent(self) -> bool:
        return False

    @spent.setter
    def spent(self, value: bool) -> None:
        pass


def test_after_three_bad_machines_in_a_row_no_more_are_created() -> None:
    core = provider(16, cls=AllFail, latency=0.005)
    report = run(*(proof(idle, f"TST-1{letter}", machines=1) for letter in "abcd"), core=core, jobs=1)
    assert {result.status for result in report.results} == {Status.ERROR}
    assert report.bill.create == 3
    assert report.exit_code == 3


async def creates_it(trial: Trial) -> None:
    await expect.acked(trial.machine.create())
    await expect.settles(trial.machine, Verb.CREATE)


def test_a_machine_that_ends_in_failed_is_no_violation_if_another_one_does_not() -> None:
    core = provider(8, cls=FirstFails, latency=0.005)
    report = run(proof(creates_it, machines=1, start=State.SPECULATIVE, creates=True), core=core)
    assert report.results[0].status is Status.PASSED
    assert report.bill.create == 2


def test_a_provider_whose_creates_all_fail_is_found_with_few_machines() -> None:
    core = provider(16, cls=AllFail, latency=0.005)
    plan = (proof(creates_it, f"TST-1{letter}", machines=1, start=State.SPECULATIVE, creates=True) for letter in "abcd")
    report = run(*plan, core=core, jobs=1)
    assert {result.status for result in report.results} == {Status.FAILED}
    assert report.bill.create == MAX_FAILURES_IN_A_ROW + 3


def test_a_declaration_is_read_back_from_the_function() -> None:
    @behaviour("TST-1a", machines=2, start=State.CONFIGURED, alone=True, transitions=3, creates=True)
    async def body(trial: Trial) -> None:
        pass

    needs = Needs(machines=2, start=State.CONFIGURED, alone=True, transitions=3, creates=True)
    assert declaration_of(body) == ("TST-1a", needs)
    assert declaration_of(test_a_declaration_is_read_back_from_the_function) is None


def test_a_violation_is_judged_once() -> None:
    attempts = list[str]()

    async def breaks(trial: Trial) -> None:
        attempts.append(trial.machine.id)
        raise errors.Violation("this", "that")

    report = run(proof(breaks, machines=1))
    assert (report.results[0].status, len(attempts)) == (Status.FAILED, 1)


def test_a_behaviour_that_watches_a_lifecycle_must_not_ask_for_machines() -> None:
    with pytest.raises(ValueError, match="TST-1a watches edges"):
        behaviour("TST-1a", watches=(Verb.CONFIGURE, Verb.DRAIN), machines=2)


@pytest.mark.parametrize("start", [State.CREATING, State.FAILED, State.UNSPECIFIED])
def test_a_behaviour_starts_in_a_state_that_can_be_prepared(start: State) -> None:
    with pytest.raises(ValueError, match=f"cannot start at {start.name}"):
        behaviour("TST-1a", start=start)


@pytest.mark.parametrize(
    ("needs", "chain"),
    [
        (Needs(), 0),
        (Needs(machines=1, start=State.SPECULATIVE), 1),
        (Needs(machines=1), 2),
        (Needs(machines=3, start=State.CONFIGURED, transitions=2), 5),
    ],
)
def test_a_chain_includes_the_way_to_the_start_and_back(needs: Needs, chain: int) -> None:
    assert needs.chain == chain


def test_a_machine_has_a_method_for_every_verb() -> None:
    assert all(callable(getattr(Machine, verb.value.lower())) for verb in Verb)
