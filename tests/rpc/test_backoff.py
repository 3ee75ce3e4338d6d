"""A provider that sheds load is asked again; one that has no other answer is taken at its word."""

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
from conformance.engine.judge import MAX_ATTEMPTS, RetryReason
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
def without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY_DELAYS", (0.0,) * len(RETRY_DELAYS))
    monkeypatch.setattr("conformance.engine.judge.RESPITE", 0.0)


def asked(*codes: grpc.StatusCode, again: Token | None = SECOND) -> tuple[Call, list[Token]]:
    """What is heard of a provider that answers so, one after the other, and the tokens that it was asked with."""
    sent, answers = list[Token](), iter(codes)

    async def send(token: Token) -> Call:
        sent.append(token)
        return a_call("Drain", code=next(answers))

    async def renewed() -> Token | None:
        return again

    return asyncio.run(send_until_accepted(send, FIRST, next_token=renewed)), sent


def test_what_is_answered_is_asked_once() -> None:
    call, sent = asked(OK)
    assert (call.code, call.retried, sent) == (OK, False, [FIRST])


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_who_has_no_time_now_is_asked_again(code: grpc.StatusCode) -> None:
    call, sent = asked(code, code, OK)
    assert (call.code, call.retried, sent) == (OK, True, [FIRST, SECOND, SECOND])


def test_who_never_has_time_gives_that_for_an_answer() -> None:
    call, sent = asked(*[UNAVAILABLE] * (len(RETRY_DELAYS) + 1))
    assert (call.code, len(sent)) == (UNAVAILABLE, len(RETRY_DELAYS) + 1)


def test_where_it_is_too_late_nobody_is_asked_again() -> None:
    call, sent = asked(UNAVAILABLE, again=None)
    assert (call.code, call.retried, sent) == (UNAVAILABLE, False, [FIRST])


def one(number: int, code: grpc.StatusCode) -> Call:
    return replace(a_call(code=code), started=float(number), ended=number + 0.5)


def shed(turned_away: int, *, of: int) -> OverloadTracker:
    """What is known after so many calls, one after the other, of which the first were turned away."""
    counted = OverloadTracker()
    for number in range(of):
        counted.add(one(number, UNAVAILABLE if number < turned_away else OK))
    return counted


def test_who_turns_much_away_is_asked_for_less_at_once_and_then_taken_at_their_word() -> None:
    found = [
        (counted.limiter.limit, counted.tolerable)
        for counted in (shed(n, of=n) for n in range(4 * TOLERABLE_REJECTIONS + 4))
    ]
    expected = [(None, True), *((step, True) for step in CONCURRENCY_STEPS), (None, False)]
    assert found == [each for each in expected for _ in range(TOLERABLE_REJECTIONS + 1)]


def test_a_gate_lets_so_many_in_at_once_and_counts_who_is_inside_already() -> None:
    async def facts() -> None:
        gate, inside, most = ConcurrencyLimiter(), 0, [0]

        async def goes_through() -> None:
            nonlocal inside
            async with gate:
                inside += 1
                most.append(inside)
                await asyncio.sleep(0.001)
                inside -= 1

        async with asyncio.TaskGroup() as group:
            early = [group.create_task(goes_through()) for _ in range(6)]
            await asyncio.sleep(0)
            gate.limit = 2
            late = [group.create_task(goes_through()) for _ in range(20)]
            await asyncio.sleep(0)
            late[3].cancel()
            await asyncio.wait(early)
            most.clear()
        assert max(most) == 2
        assert [task.cancelled() for task in late].count(True) == 1
        gate.limit = None
        await asyncio.gather(*(goes_through() for _ in range(9)))
        assert max(most) == 9

    asyncio.run(facts())


def test_of_many_calls_a_share_may_be_turned_away() -> None:
    assert shed(10, of=10).limiter.limit == CONCURRENCY_STEPS[0]
    busy_last = OverloadTracker()
    for number in range(10 * TOLERABLE_SHARE):
        busy_last.add(one(number, OK if number < 10 * TOLERABLE_SHARE - 10 else UNAVAILABLE))
    assert busy_last.limiter.limit is None
    busy_last.add(one(10 * TOLERABLE_SHARE, UNAVAILABLE))
    assert busy_last.limiter.limit == CONCURRENCY_STEPS[0]


def test_what_was_under_way_when_less_was_asked_for_is_no_matter_of_that() -> None:
    counted = shed(TOLERABLE_REJECTIONS + 1, of=TOLERABLE_REJECTIONS + 1)
    for _ in range(5 * TOLERABLE_REJECTIONS):
        counted.add(one(TOLERABLE_REJECTIONS, UNAVAILABLE))
    assert (counted.limiter.limit, counted.rejected) == (CONCURRENCY_STEPS[0], 6 * TOLERABLE_REJECTIONS + 1)


def test_what_was_turned_away_is_told_where_it_is_more_than_a_few() -> None:
    assert shed(TOLERABLE_REJECTIONS, of=1000).summary == ""
    assert shed(10, of=1000).summary.startswith("10 of 1000 calls were turned away")
    assert "and were asked again; --jobs 1" in shed(10, of=1000).summary
    assert "too many to be asked again" in shed(40, of=41).summary


def test_where_much_was_turned_away_in_all_no_verdict_rests_on_the_rest() -> None:
    assert shed(TOLERABLE_REJECTIONS, of=TOLERABLE_REJECTIONS).why_unreliable == ""
    assert shed(20, of=100).why_unreliable == ""
    assert shed(20, of=99).why_unreliable.startswith("20 of 99 calls were turned away")


def test_a_provider_that_turns_every_third_call_away_is_not_judged_by_the_others() -> None:
    calls = itertools.count(1)

    class Third(Servicer):
        async def answer(self, context: Any, work: Any) -> Any:
            if next(calls) % 3 == 0:
                await context.abort(UNAVAILABLE, "not now")
            return await super().answer(context, work)

    async def binds(trial: Trial) -> None:
        for _ in range(4):
            await trial.drive(trial.machine, Verb.CONFIGURE)
            await trial.drive(trial.machine, Verb.DRAIN)

    report = asyncio.run(judged([proof(binds, machines=1, transitions=8)], serve={"servicer": Third}))
    assert (report.results[0].status, report.exit_code) == (Status.ERROR, 3)
    assert report.home.clean


class Mood:
    """Has no time for the next so many calls, when it is told to."""

    def __init__(self) -> None:
        self.left = 0
        self.turned_away = asyncio.Event()

    def servicer(self, *given: Any, **named: Any) -> Servicer:
        return Moody(self, *given, **named)


class Moody(Servicer):
    def __init__(self, mood: Mood, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.mood = mood

    async def answer(self, context: Any, work: Any) -> Any:
        if self.mood.left:
            self.mood.left -= 1
            self.mood.turned_away.set()
            await context.abort(UNAVAILABLE, "not now")
        return await super().answer(context, work)


def run(body: Callable[[Trial, Mood], Coroutine[Any, Any, None]], **needs: Any) -> Result:
    mood = Mood()

    async def moody(trial: Trial) -> None:
        await body(trial, mood)

    report = asyncio.run(judged([proof(moody, machines=1, **needs)], serve={"servicer": mood.servicer}))
    assert report.home.clean
    return report.results[0]


def test_a_read_that_is_turned_away_is_made_again() -> None:
    async def reads(trial: Trial, mood: Mood) -> None:
        mood.left = 1
        await expect.acked(trial.client.list())

    result = run(reads)
    assert result.status is Status.PASSED
    assert [call.code for call in result.calls if call.rpc == "List"] == [UNAVAILABLE, OK]


def test_a_call_of_the_machines_own_shard_is_made_again_with_a_newer_token() -> None:
    async def binds(trial: Trial, mood: Mood) -> None:
        mood.left = 1
        await expect.acked(trial.machine.configure())

    result = run(binds, transitions=1)
    assert result.status is Status.PASSED
    first, second = (call.token for call in result.calls if call.rpc == "Configure")
    assert first is not None
    assert second is not None
    assert second.numbers > first.numbers


def test_what_was_turned_away_is_not_asked_after_something_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY_DELAYS", (1.0,))

    async def two(trial: Trial, mood: Mood) -> None:
        mood.left = 1
        first = asyncio.ensure_future(trial.machine.configure())
        await mood.turned_away.wait()
        await trial.machine.drain()
        assert (await first).busy

    result = run(two)
    assert result.status is Status.PASSED
    assert [call.rpc for call in result.calls if call.rpc != "Get"][-2:] == ["Configure", "Drain"]


def test_what_cannot_be_told_when_it_is_tried_again_undoes_nothing() -> None:
    attempts = list[str]()

    async def reads(trial: Trial, mood: Mood) -> None:
        attempts.append(trial.machine.id)
        if len(attempts) > 1:
            raise Unprepared("it is gone for good")
        mood.left = len(RETRY_DELAYS) + 1
        await expect.acked(trial.client.list())

    result = run(reads)
    assert (result.status, len(attempts)) == (Status.FAILED, 2)
    assert result.got == "UNAVAILABLE: not now"


def test_what_was_turned_away_once_too_often_is_judged_again() -> None:
    attempts = list[str]()

    async def reads(trial: Trial, mood: Mood) -> None:
        attempts.append(trial.machine.id)
        mood.left = len(RETRY_DELAYS) + 1 if len(attempts) < 3 else 0
        await expect.acked(trial.client.list())

    assert run(reads).status is Status.PASSED
    assert len(attempts) == 3


@pytest.mark.parametrize("rpc", ["List", "Drain"])
def test_who_has_hung_up_asks_no_more(rpc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("conformance.rpc.backoff.RETRY_DELAYS", "conformance.rpc.client.RETRY_DELAYS"):
        monkeypatch.setattr(name, (0.2, 0.2, 0.2))

    async def hangs_up(trial: Trial, mood: Mood) -> None:
        async with trial.client.another() as client:
            await client.channel.channel_ready()
            mood.left = 1
            asks = client.list() if rpc == "List" else trial.machine.drain(client=client)
            asked = asyncio.ensure_future(asks)
            await mood.turned_away.wait()
            await asyncio.sleep(0.05)  # the answer is heard, and the next try not yet made
            await client.disconnect()
            assert (await asked).busy

    assert run(hangs_up).status is Status.PASSED


def test_where_anything_was_turned_away_what_did_not_happen_may_have_been_too() -> None:
    mood, attempts = Mood(), list[str]()

    async def reads(trial: Trial) -> None:
        mood.left = 1
        await expect.acked(trial.client.list())

    async def hangs_up(trial: Trial) -> None:
        attempts.append(trial.machine.id)
        if len(attempts) < 3:
            raise Unprepared("it does not leave IDLE, and nobody hears why")

    plan = [proof(reads, "TST-1a", machines=1), proof(hangs_up, "TST-1b", machines=1, transitions=1)]
    report = asyncio.run(judged(plan, jobs=1, serve={"servicer": mood.servicer}))
    assert [result.status for result in report.results] == [Status.PASSED] * 2
    assert len(attempts) == 3


def test_who_answers_nothing_else_fails_in_the_end() -> None:
    attempts = list[str]()

    async def reads(trial: Trial) -> None:
        attempts.append(trial.machine.id)
        for _ in range(60):
            await trial.machine.get()
        await expect.code(trial.client.get("nobody"), grpc.StatusCode.NOT_FOUND)

    class Outage(Core):
        def find(self, machine_id: str) -> Any:
            if machine_id == "nobody":
                raise Rejected(Code.UNAVAILABLE, "what the cache lacks will come")
            return super().find(machine_id)

    report = asyncio.run(judged([proof(reads, machines=1)], provider(cls=Outage)))
    assert report.results[0].status is Status.FAILED
    assert report.results[0].got == "UNAVAILABLE: what the cache lacks will come"
    assert len(attempts) == MAX_ATTEMPTS[RetryReason.OVERLOAD]


FENCED = grpc.StatusCode.FAILED_PRECONDITION


def test_a_token_that_was_chosen_is_stale_or_spent_where_it_is_fenced_the_second_time() -> None:
    call, sent = asked(UNAVAILABLE, FENCED, again=FIRST)
    assert (call.code, call.token_spent, sent) == (UNAVAILABLE, True, [FIRST, FIRST])
    assert asyncio.run(expect.accepted(call)) is call
    assert asyncio.run(expect.fenced(call)) is call
    assert asyncio.run(expect.refused(call)) is call


def test_a_token_that_was_renewed_is_not_to_be_fenced() -> None:
    call, _ = asked(UNAVAILABLE, FENCED, again=SECOND)
    assert (call.code, call.token_spent) == (FENCED, False)
    with pytest.raises(Violation, match="to pass the fence"):
        asyncio.run(expect.accepted(call))


def test_a_token_that_was_chosen_is_judged_as_ever_where_it_was_turned_away_at_the_door() -> None:
    async def asks(trial: Trial, mood: Mood) -> None:
        shard = trial.new_shard()
        for sequence in (1, 2):
            mood.left = 1
            await expect.accepted(trial.machine.drain(shard.token(epoch=1, sequence=sequence)))
            mood.left = 1
            await expect.fenced(trial.machine.drain(shard.token(epoch=1, sequence=sequence)))

    result = run(asks)
    assert result.status is Status.PASSED
    codes = [call.code for call in result.calls if call.rpc == "Drain"][-8:]  # those before are claims
    assert codes == [UNAVAILABLE, grpc.StatusCode.ABORTED, UNAVAILABLE, FENCED] * 2


def test_what_was_started_before_it_was_put_off_comes_home() -> None:
    class Late(Core):
        """Its first Create is under way when it says that it has no time; of another one it thinks nothing."""

        times = 0

        def serve(self, verb: Any, request: Any, now: float) -> Any:
            self.times += verb == "create"
            if verb == "create" and self.times == 2:
                raise Rejected(Code.ABORTED, "no")
            ack = super().serve(verb, request, now)
            if verb == "create" and self.times == 1:
                raise Rejected(Code.UNAVAILABLE, "not now")
            return ack

    async def creates(trial: Trial) -> None:
        call = await trial.machine.create()
        assert call.code is grpc.StatusCode.ABORTED

    core = provider(cls=Late)
    report = asyncio.run(judged([proof(creates, machines=1, start=State.SPECULATIVE, creates=True)], core))
    assert report.results[0].status is Status.PASSED
    assert report.home.clean
    assert {machine.state.name for machine in core.machines.values()} == {"SPECULATIVE"}
