from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st

from conformance.core.errors import NoAnswer, Unsupported, Violation
from conformance.rpc.call import CallLog, record, recording
from conformance.testkit.properties import check_property
from tests.values import a_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

INTEGERS = st.integers(min_value=0, max_value=10_000)


def search(judge: Callable[[int], Awaitable[None]], *, examples: int = 50, seed: int = 1) -> None:
    asyncio.run(check_property(INTEGERS, judge, examples=examples, seed=seed))


def test_a_property_that_holds_passes_after_the_given_number_of_cases() -> None:
    cases: list[int] = []

    async def judge(case: int) -> None:
        cases.append(case)

    search(judge, examples=20)
    assert len(cases) == 20


def test_a_violation_is_shrunk_to_its_smallest_case() -> None:
    async def judge(case: int) -> None:
        if case >= 100:
            raise Violation("less than 100", str(case))

    with pytest.raises(Violation) as caught:
        search(judge)
    assert caught.value.got == "100"


def test_the_smallest_case_is_the_last_that_was_judged() -> None:
    cases: list[int] = []

    async def judge(case: int) -> None:
        cases.append(case)
        if case >= 100:
            raise Violation("less than 100", str(case))

    with pytest.raises(Violation):
        search(judge)
    assert cases[-1] == 100


def test_cases_that_passed_are_not_judged_again_during_shrinking() -> None:
    drawn: list[int] = []

    async def keep(case: int) -> None:
        drawn.append(case)

    search(keep)
    cases: list[int] = []

    async def judge(case: int) -> None:
        cases.append(case)
        if case == drawn[2]:
            raise Violation("another", str(case))

    with pytest.raises(Violation):
        search(judge)
    assert cases[:3] == drawn[:3]
    assert [cases.count(case) for case in drawn[:2]] == [1, 1]


def test_the_seed_determines_the_cases() -> None:
    def drawn(seed: int) -> list[int]:
        cases: list[int] = []

        async def judge(case: int) -> None:
            cases.append(case)

        search(judge, seed=seed)
        return cases

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("error", [NoAnswer("gone"), Unsupported("no Delete"), KeyError("a bug")])
def test_any_other_exception_ends_the_search_and_is_raised_unchanged(error: Exception) -> None:
    cases: list[int] = []

    async def judge(case: int) -> None:
        cases.append(case)
        if len(cases) == 3:
            raise error

    with pytest.raises(type(error)) as caught:
        search(judge)
    assert caught.value is error
    assert len(cases) == 3


def test_a_violation_that_does_not_happen_again_is_still_raised() -> None:
    cases: list[int] = []

    async def judge(case: int) -> None:
        cases.append(case)
        if len(cases) == 3:
            raise Violation("no race", "one")

    with pytest.raises(Violation, match="no race"):
        search(judge)


def test_a_violation_is_raised_even_if_the_target_is_lost_during_shrinking() -> None:
    broken: list[int] = []

    async def judge(case: int) -> None:
        if len(broken) == 2:
            raise NoAnswer("gone")
        if case >= 100:
            broken.append(case)
            raise Violation("less than 100", str(case))

    with pytest.raises(Violation):
        search(judge)


def test_a_search_that_is_cancelled_judges_no_further_case() -> None:
    cases: list[int] = []

    async def go() -> None:
        first = asyncio.Event()

        async def judge(case: int) -> None:
            cases.append(case)
            first.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(check_property(INTEGERS, judge, examples=50, seed=1))
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, "the running case has ended"

    asyncio.run(go())
    assert len(cases) == 1


def test_the_loop_is_not_blocked_by_a_search() -> None:
    async def go() -> None:
        turn, answer = asyncio.Event(), asyncio.Event()

        async def neighbour() -> None:
            await turn.wait()
            answer.set()

        async def judge(case: int) -> None:
            turn.set()
            await answer.wait()

        await asyncio.gather(check_property(INTEGERS, judge, examples=3, seed=1), neighbour())

    asyncio.run(go())


def test_the_calls_of_a_search_are_in_the_behaviours_log() -> None:
    async def judge(case: int) -> None:
        record(a_call())

    async def go() -> CallLog:
        with recording(CallLog()) as log:
            await check_property(INTEGERS, judge, examples=5, seed=1)
        return log

    assert len(asyncio.run(go()).calls) == 5
