"""Calls that a provider rejects for load are retried; if it always rejects them, that is its answer."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from conformance.core.errors import Unprepared, Violation
from conformance.core.fencing import Token
from conformance.core.lifecycle import State, Verb
from conformance.engine.retries import MAX_ATTEMPTS, RetryReason
from conformance.results.result import Result, Status
from conformance.rpc import backoff
from conformance.rpc.backoff import (
    CONCURRENCY_STEPS,
    RETRY_DELAYS,
    TOLERABLE_REJECTIONS,
    TOLERABLE_SHARE,
    OverloadTracker,
    send_until_accepted,
)
from conformance.rpc.concurrency_limit import ConcurrencyLimiter
from conformance.testkit import expect
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.servicer import Servicer
from tests.runs import judged, proof, provider
from tests.values import a_call

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
FIRST, SECOND = Token("s", 1, 1), Token("s", 1, 2)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY_DELAYS", (0.0,) * len(RETRY_DELAYS))
    monkeypatch.setattr("conformance.engine.judge.PAUSE_SECONDS", 0.0)


def send_against(*codes: grpc.StatusCode, second_token: Token | None = SECOND) -> tuple[Call, list[Token]]:
    """Returns the final call to a provider that answers with these codes in turn, and the tokens of all attempts."""
    sent, answers = list[Token](), iter(codes)

    async def send(token: Token) -> Call:
        sent.append(token)
        return a_call("Drain", code=next(answers))

    async def next_token() -> Token | None:
        return second_token

    return asyncio.run(send_until_accepted(send, FIRST, next_token=next_token)), sent


def test_an_answered_call_is_sent_once() -> None:
    call, sent = send_against(OK)
    assert (call.code, call.retried, sent) == (OK, False, [FIRST])


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_a_call_rejected_for_load_is_retried(code: grpc.StatusCode) -> None:
    call, sent = send_against(code, code, OK)
    assert (call.code, call.retried, sent) == (OK, True, [FIRST, SECOND, SECOND])


def test_a_call_that_is_always_rejected_returns_the_rejection() -> None:
    call, sent = send_against(*[UNAVAILABLE] * (len(RETRY_DELAYS) + 1))
    assert (call.code, len(sent)) == (UNAVAILABLE, len(RETRY_DELAYS) + 1)


def test_without_a_next_token_there_is_no_retry() -> None:
    call, sent = send_against(UNAVAILABLE, second_token=None)
    assert (call.code, call.retried, sent) == (UNAVAILABLE, False, [FIRST])


def call_at(number: int, code: grpc.StatusCode) -> Call:
    return replace(a_call(code=code), started=float(number), ended=number + 0.5)


def tracker_after(rejected: int, *, of: int) -> OverloadTracker:
    """Returns a tracker of `of` sequential calls, of which the first `rejected` were rejected for load."""
    tracker = OverloadTracker()
    for number in range(of):
        tracker.add(call_at(number, UNAVAILABLE if number < rejected else OK))
    return tracker


def test_too_many_rejections_lower_the_concurrency_and_then_count_as_the_answer() -> None:
    observed = [
        (tracker.limiter.limit, tracker.tolerable)
        for tracker in (tracker_after(n, of=n) for n in range(4 * TOLERABLE_REJECTIONS + 4))
    ]
    expected = [(None, True), *((step, True) for step in CONCURRENCY_STEPS), (None, False)]
    assert observed == [each for each in expected for _ in range(TOLERABLE_REJECTIONS + 1)]


def test_a_limiter_limits_concurrent_callers_and_counts_those_inside_already() -> None:
    async def scenario() -> None:
        limiter, inside, most = ConcurrencyLimiter(), 0, [0]

        async def enter() -> None:
            nonlocal inside
            async with limiter:
                inside += 1
                most.append(inside)
                await asyncio.sleep(0.001)
                inside -= 1

        async with asyncio.TaskGroup() as group:
            early = [group.create_task(enter()) for _ in range(6)]
            await asyncio.sleep(0)
            limiter.limit = 2
            late = [group.create_task(enter()) for _ in range(20)]
            await asyncio.sleep(0)
            late[3].cancel()
            await asyncio.wait(early)
            most.clear()
        assert max(most) == 2
        assert [task.cancelled() for task in late].count(True) == 1
        limiter.limit = None
        await asyncio.gather(*(enter() for _ in range(9)))
        assert max(most) == 9

    asyncio.run(scenario())


def test_a_share_of_many_calls_may_be_rejected() -> None:
    assert tracker_after(10, of=10).limiter.limit == CONCURRENCY_STEPS[0]
    rejected_last = OverloadTracker()
    for number in range(10 * TOLERABLE_SHARE):
        rejected_last.add(call_at(number, OK if number < 10 * TOLERABLE_SHARE - 10 else UNAVAILABLE))
    assert rejected_last.limiter.limit is None
    rejected_last.add(call_at(10 * TOLERABLE_SHARE, UNAVAILABLE))
    assert rejected_last.limiter.limit == CONCURRENCY_STEPS[0]


def test_calls_from_before_a_lower_limit_do_not_count_against_it() -> None:
    tracker = tracker_after(TOLERABLE_REJECTIONS + 1, of=TOLERABLE_REJECTIONS + 1)
    for _ in range(5 * TOLERABLE_REJECTIONS):
        tracker.add(call_at(TOLERABLE_REJECTIONS, UNAVAILABLE))
    assert (tracker.limiter.limit, tracker.rejected) == (CONCURRENCY_STEPS[0], 6 * TOLERABLE_REJECTIONS + 1)


def test_the_summary_reports_more_than_a_few_rejections() -> None:
    assert tracker_after(TOLERABLE_REJECTIONS, of=1000).summary == ""
    assert tracker_after(10, of=1000).summary.startswith("10 of 1000 calls were rejected")
    assert "and were retried; --jobs 1" in tracker_after(10, of=1000).summary
    assert "too many to retry" in tracker_after(40, of=41).summary


def test_a_large_share_of_rejections_makes_the_run_unreliable() -> None:
    assert tracker_after(TOLERABLE_REJECTIONS, of=TOLERABLE_REJECTIONS).why_unreliable == ""
    assert tracker_after(20, of=100).why_unreliable == ""
    assert tracker_after(20, of=99).why_unreliable.startswith("20 of 99 calls were rejected")


def test_a_provider_that_rejects_every_third_call_is_not_judged_by_the_others() -> None:
    calls = itertools.count(1)

    class RejectsEveryThird(Servicer):
        async def answer(self, context: Any, work: Any) -> Any:
            if next(calls) % 3 == 0:
                await context.abort(UNAVAILABLE, "not now")
            return await super().answer(context, work)

    async def configures(trial: Trial) -> None:
        for _ in range(4):
            await trial.drive(trial.machine, Verb.CONFIGURE)
            await trial.drive(trial.machine, Verb.DRAIN)

    report = asyncio.run(judged([proof(configures, machines=1, transitions=8)], serve={"servicer": RejectsEveryThird}))
    assert (report.results[0].status, report.exit_code) == (Status.ERROR, 3)
    assert report.home.clean


class Overload:
    """Makes the provider reject the next `left` calls for load."""

    def __init__(self) -> None:
        self.left = 0
        self.rejected = asyncio.Event()

    def servicer(self, *given: Any, **named: Any) -> Servicer:
        return OverloadedServicer(self, *given, **named)


class OverloadedServicer(Servicer):
    def __init__(self, overload: Overload, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.overload = overload

    async def answer(self, context: Any, work: Any) -> Any:
        if self.overload.left:
            self.overload.left -= 1
            self.overload.rejected.set()
            await context.abort(UNAVAILABLE, "not now")
        return await super().answer(context, work)


def run(body: Callable[[Trial, Overload], Coroutine[Any, Any, None]], **needs: Any) -> Result:
    overload = Overload()

    async def body_with_overload(trial: Trial) -> None:
        await body(trial, overload)

    report = asyncio.run(
        judged([proof(body_with_overload, machines=1, **needs)], serve={"servicer": overload.servicer})
    )
    assert report.home.clean
    return report.results[0]


def test_a_rejected_read_is_retried() -> None:
    async def reads(trial: Trial, overload: Overload) -> None:
        overload.left = 1
        await expect.acked(trial.client.list())

    result = run(reads)
    assert result.status is Status.PASSED
    assert [call.code for call in result.calls if call.rpc == "List"] == [UNAVAILABLE, OK]


def test_a_call_of_the_machines_own_shard_is_retried_with_a_newer_token() -> None:
    async def configures(trial: Trial, overload: Overload) -> None:
        overload.left = 1
        await expect.acked(trial.machine.configure())

    result = run(configures, transitions=1)
    assert result.status is Status.PASSED
    first, second = (call.token for call in result.calls if call.rpc == "Configure")
    assert first is not None
    assert second is not None
    assert second.numbers > first.numbers


def test_a_rejected_call_is_not_retried_after_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY_DELAYS", (1.0,))

    async def two(trial: Trial, overload: Overload) -> None:
        overload.left = 1
        first = asyncio.ensure_future(trial.machine.configure())
        await overload.rejected.wait()
        await trial.machine.drain()
        assert (await first).busy

    result = run(two)
    assert result.status is Status.PASSED
    assert [call.rpc for call in result.calls if call.rpc != "Get"][-2:] == ["Configure", "Drain"]


def test_an_inconclusive_retry_does_not_cancel_a_violation() -> None:
    attempts = list[str]()

    async def reads(trial: Trial, overload: Overload) -> None:
        attempts.append(trial.machine.id)
        if len(attempts) > 1:
            raise Unprepared("the machine is lost")
        overload.left = len(RETRY_DELAYS) + 1
        await expect.acked(trial.client.list())

    result = run(reads)
    assert (result.status, result.got) == (Status.FAILED, "UNAVAILABLE: not now")
    assert len(attempts) > 1


def test_a_behaviour_with_too_many_rejections_is_judged_again() -> None:
    attempts = list[str]()

    async def reads(trial: Trial, overload: Overload) -> None:
        attempts.append(trial.machine.id)
        overload.left = len(RETRY_DELAYS) + 1 if len(attempts) < 3 else 0
        await expect.acked(trial.client.list())

    assert run(reads).status is Status.PASSED
    assert len(attempts) == 3


@pytest.mark.parametrize("rpc", ["List", "Drain"])
def test_a_disconnected_client_does_not_retry(rpc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("conformance.rpc.backoff.RETRY_DELAYS", "conformance.rpc.client.RETRY_DELAYS"):
        monkeypatch.setattr(name, (0.2, 0.2, 0.2))

    async def disconnects(trial: Trial, overload: Overload) -> None:
        async with trial.client.another() as client:
            await client.channel.channel_ready()
            overload.left = 1
            call = client.list() if rpc == "List" else trial.machine.drain(client=client)
            task = asyncio.ensure_future(call)
            await overload.rejected.wait()
            await asyncio.sleep(0.05)  # the answer has arrived, and the next attempt is not made yet
            await client.disconnect()
            assert (await task).busy

    assert run(disconnects).status is Status.PASSED


def test_an_inconclusive_behaviour_is_judged_again_if_any_call_was_rejected() -> None:
    overload, attempts = Overload(), list[str]()

    async def reads(trial: Trial) -> None:
        overload.left = 1
        await expect.acked(trial.client.list())

    async def disconnects(trial: Trial) -> None:
        attempts.append(trial.machine.id)
        if len(attempts) < 3:
            raise Unprepared("it does not leave IDLE, for an unknown reason")

    plan = [proof(reads, "TST-1a", machines=1), proof(disconnects, "TST-1b", machines=1, transitions=1)]
    report = asyncio.run(judged(plan, jobs=1, serve={"servicer": overload.servicer}))
    assert [result.status for result in report.results] == [Status.PASSED] * 2
    assert len(attempts) == 3


def test_a_provider_that_always_rejects_a_call_fails_in_the_end() -> None:
    attempts = list[str]()

    async def reads(trial: Trial) -> None:
        attempts.append(trial.machine.id)
        for _ in range(60):
            await trial.machine.get()
        await expect.code(trial.client.get("missing"), grpc.StatusCode.NOT_FOUND)

    class Outage(Core):
        def find(self, machine_id: str) -> Any:
            if machine_id == "missing":
                raise Rejected(Code.UNAVAILABLE, "the cache is not filled yet")
            return super().find(machine_id)

    report = asyncio.run(judged([proof(reads, machines=1)], provider(cls=Outage)))
    assert report.results[0].status is Status.FAILED
    assert report.results[0].got == "UNAVAILABLE: the cache is not filled yet"
    assert len(attempts) == MAX_ATTEMPTS[RetryReason.OVERLOAD]


FENCED = grpc.StatusCode.FAILED_PRECONDITION


def test_a_chosen_token_is_stale_or_spent_if_its_retry_is_fenced() -> None:
    call, sent = send_against(UNAVAILABLE, FENCED, second_token=FIRST)
    assert (call.code, call.token_spent, sent) == (UNAVAILABLE, True, [FIRST, FIRST])
    assert asyncio.run(expect.accepted(call)) is call
    assert asyncio.run(expect.fenced(call)) is call
    assert asyncio.run(expect.refused(call)) is call


def test_a_renewed_token_must_not_be_fenced() -> None:
    call, _ = send_against(UNAVAILABLE, FENCED, second_token=SECOND)
    assert (call.code, call.token_spent) == (FENCED, False)
    with pytest.raises(Violation, match="to pass the fence"):
        asyncio.run(expect.accepted(call))


def test_a_chosen_token_is_judged_as_usual_if_it_was_rejected_before_the_fence() -> None:
    async def calls_twice(trial: Trial, overload: Overload) -> None:
        shard = trial.new_shard()
        for sequence in (1, 2):
            overload.left = 1
            await expect.accepted(trial.machine.drain(shard.token(epoch=1, sequence=sequence)))
            overload.left = 1
            await expect.fenced(trial.machine.drain(shard.token(epoch=1, sequence=sequence)))

    result = run(calls_twice)
    assert result.status is Status.PASSED
    codes = [call.code for call in result.calls if call.rpc == "Drain"][-8:]  # earlier ones claim ownership
    assert codes == [UNAVAILABLE, grpc.StatusCode.ABORTED, UNAVAILABLE, FENCED] * 2


def test_a_machine_started_by_a_rejected_create_is_cleaned_up() -> None:
    class RejectsAfterStarting(Core):
        """Starts the first Create and then rejects it for load; refuses the second call_at."""

        creates_seen = 0

        def serve(self, verb: Any, request: Any, now: float) -> Any:
            self.creates_seen += verb == "create"
            if verb == "create" and self.creates_seen == 2:
                raise Rejected(Code.ABORTED, "no")
            ack = super().serve(verb, request, now)
            if verb == "create" and self.creates_seen == 1:
                raise Rejected(Code.UNAVAILABLE, "not now")
            return ack

    async def creates(trial: Trial) -> None:
        call = await trial.machine.create()
        assert call.code is grpc.StatusCode.ABORTED

    core = provider(cls=RejectsAfterStarting)
    report = asyncio.run(judged([proof(creates, machines=1, start=State.SPECULATIVE, creates=True)], core))
    assert report.results[0].status is Status.PASSED
    assert report.home.clean
    assert {machine.state.name for machine in core.machines.values()} == {"SPECULATIVE"}
