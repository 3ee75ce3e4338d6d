"""Background tasks continue after their caller was cancelled."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from conformance.core import background


def test_a_task_continues_after_its_caller_is_cancelled() -> None:
    async def scenario() -> None:
        finish = asyncio.Event()

        async def work() -> str:
            await finish.wait()
            return "done"

        task = background.start(work())
        waiting = asyncio.create_task(background.wait(task))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        assert not task.done()
        finish.set()
        assert await background.wait(task) == "done"

    asyncio.run(scenario())


def test_all_waiting_callers_receive_an_error() -> None:
    async def scenario() -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            raise OSError("the disk is full")

        task = background.start(work())
        errors = await asyncio.gather(*(background.wait(task) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in errors] == ["the disk is full"] * 3
        with pytest.raises(OSError, match="the disk is full"):
            await background.wait(task)

    asyncio.run(scenario())


@pytest.mark.parametrize("waiting_caller", [False, True])
def test_an_error_without_a_waiting_caller_is_dropped_silently(waiting_caller: bool) -> None:
    reports: list[dict[str, Any]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
        finish = asyncio.Event()

        async def work() -> None:
            await finish.wait()
            raise OSError("the disk is full")

        task = background.start(work())
        if waiting_caller:
            waiting = asyncio.create_task(background.wait(task))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        finish.set()
        await asyncio.wait((task,))
        del task
        gc.collect()

    asyncio.run(scenario())
    gc.collect()
    assert reports == []
