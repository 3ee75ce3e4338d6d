"""Properties: Hypothesis draws cases, a coroutine judges each, and a violation is shrunk to its smallest case.

Hypothesis is synchronous and the engine's loop is not: the search runs in a thread and hands every case to the
loop, so that other behaviours go on meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import hypothesis
from hypothesis import Phase, Verbosity

from conformance.errors import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypothesis.strategies import SearchStrategy

Case = TypeVar("Case")


async def explore(
    strategy: SearchStrategy[Case], judge: Callable[[Case], Awaitable[None]], *, examples: int, seed: int
) -> None:
    """Judge up to `examples` cases drawn from `strategy`, the same ones for the same seed.

    Raises the Violation of the smallest case that breaks the property; the calls of that case are the last in
    the behaviour's log. Any other outcome ends the search as it is.
    """
    loop = asyncio.get_running_loop()
    stopped: list[BaseException] = []

    def run(case: Case) -> None:
        if stopped:
            return
        task = asyncio.run_coroutine_threadsafe(_await(judge(case)), loop)
        try:
            task.result()
        except Outcome:
            raise
        except BaseException as error:  # the run ends, or the kit is broken: not a matter for shrinking
            stopped.append(error)

    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    test = hypothesis.seed(seed)(settings(hypothesis.given(strategy)(run)))
    await asyncio.to_thread(test)
    if stopped:
        raise stopped[0]


async def _await(awaitable: Awaitable[Any]) -> None:
    await awaitable
