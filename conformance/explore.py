"""Properties: Hypothesis draws cases, a coroutine judges each, and a violation is shrunk to its smallest case.

Hypothesis is synchronous and the engine's loop is not: the search runs in a thread and hands every case to the
loop, so that other behaviours go on meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import hypothesis
from hypothesis import Phase, Verbosity
from hypothesis.errors import Flaky

from conformance.errors import Violation

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
    broken: list[Violation] = []
    stopped: list[BaseException] = []
    judging: set[asyncio.Task[None] | None] = set()

    async def on_loop(case: Case) -> None:
        if stopped:  # meanwhile: a case that begins now would drive a machine that is on its way home
            return
        judging.add(asyncio.current_task())
        await judge(case)

    def run(case: Case) -> None:
        if stopped:
            return
        try:
            asyncio.run_coroutine_threadsafe(on_loop(case), loop).result()
        except Violation as violation:
            broken.append(violation)
            raise
        except BaseException as error:  # the kit could not tell, or the run ends: not a matter for shrinking
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
    search = asyncio.create_task(asyncio.to_thread(test))
    try:
        await asyncio.shield(search)
    except (Violation, Flaky):
        # One that does not come back was seen all the same.
        raise broken[-1] from None
    except asyncio.CancelledError as cancelled:
        # The thread cannot be cancelled. It is told, and heard out: nothing may be judged after we are gone.
        stopped.append(cancelled)
        for task in filter(None, judging):
            task.cancel()
        await asyncio.wait([search])
        raise
    if stopped:
        raise stopped[0]
