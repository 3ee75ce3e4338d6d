"""Judges properties: Hypothesis draws cases, a coroutine judges each, and a violation is shrunk to its smallest case.

Drawing cases needs no provider, so all are drawn first and then judged on the engine's loop. Only a violation starts a
search for a smaller case. Hypothesis is synchronous and the engine's loop is not, so the search runs in a thread and
hands every case to the loop; other behaviours go on meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import hypothesis
from hypothesis import Phase, Verbosity
from hypothesis.errors import Flaky

from conformance.core.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hypothesis.strategies import SearchStrategy

Case = TypeVar("Case")


async def check_property(
    strategy: SearchStrategy[Case], judge: Callable[[Case], Awaitable[None]], *, examples: int, seed: int
) -> None:
    """Judges up to `examples` cases drawn from `strategy`, the same ones for the same seed.

    Raises the Violation of the smallest case that breaks the property; the calls of that case are the last in
    the behaviour's log. Any other exception ends the search and is raised unchanged.
    """
    cases: Sequence[Case] = await asyncio.to_thread(_drawn, strategy, examples, seed)
    for number, case in enumerate(cases):
        try:
            await judge(case)
        except Violation as violation:
            smallest = await _smallest(strategy, judge, examples=examples, seed=seed, passed=number, first=violation)
            raise smallest from None


@lru_cache(maxsize=32)
def _drawn(strategy: SearchStrategy[Any], examples: int, seed: int) -> Sequence[Any]:
    """Returns the cases. Cached, because the self-test draws the same ones for every provider; cases are immutable."""
    cases: list[Any] = []
    _run(strategy, cases.append, examples=examples, seed=seed, phases=(Phase.generate,))
    return cases


async def _smallest(
    strategy: SearchStrategy[Case],
    judge: Callable[[Case], Awaitable[None]],
    *,
    examples: int,
    seed: int,
    passed: int,
    first: Violation,
) -> Violation:
    """Returns the violation of the smallest case: `passed` cases passed, and the next one raised `first`.

    Cases with a known result are not judged again. However the search ends, there is a violation to return.
    """
    loop = asyncio.get_running_loop()
    known: list[Violation | None] = [first, *[None] * passed]
    broken: list[Violation] = [first]
    stopped: list[BaseException] = []
    judging: set[asyncio.Task[None] | None] = set()

    async def on_loop(case: Case) -> None:
        if stopped:  # checked again here: a new case would drive a machine that is being cleaned up
            return
        judging.add(asyncio.current_task())
        await judge(case)

    def run(case: Case) -> None:
        if stopped:
            return
        if known:
            violation = known.pop()
            if violation is None:
                return
            raise violation
        try:
            asyncio.run_coroutine_threadsafe(on_loop(case), loop).result()
        except Violation as violation:
            broken.append(violation)
            raise
        except BaseException as error:  # inconclusive, or the run ends: there is nothing to shrink
            stopped.append(error)

    phases = (Phase.generate, Phase.shrink)
    search = asyncio.create_task(asyncio.to_thread(_run, strategy, run, examples=examples, seed=seed, phases=phases))
    try:
        with suppress(Violation, Flaky):  # Flaky: the violation did not happen again
            await asyncio.shield(search)
    except asyncio.CancelledError as cancelled:
        # The thread cannot be cancelled. Stop it and wait for it: no case may be judged after the return.
        stopped.append(cancelled)
        for task in filter(None, judging):
            task.cancel()
        await asyncio.wait([search])
        raise
    return broken[-1]


def _run(
    strategy: SearchStrategy[Case],
    judge: Callable[[Case], None],
    *,
    examples: int,
    seed: int,
    phases: Sequence[Phase],
) -> None:
    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=phases,
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    def test(case: Case) -> None:
        judge(case)

    hypothesis.seed(seed)(settings(hypothesis.given(strategy)(test)))()
