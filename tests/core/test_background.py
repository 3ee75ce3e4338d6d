"""Work that goes on when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from conformance.core import background


def test_who_is_cancelled_while_waiting_leaves_the_work_going() -> None:
    async def go() -> None:
        enough = asyncio.Event()

        async def work() -> str:
            await enough.wait()
            return "done"

        task = background.start(work())
        waiting = asyncio.create_task(background.wait(task))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        assert not task.done()
        enough.set()
        assert await background.wait(task) == "done"

    asyncio.run(go())


def test_everybody_who_waits_hears_of_an_error() -> None:
    async def go() -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            raise OSError("the disk is full")

        task = background.start(work())
        heard = await asyncio.gather(*(background.wait(task) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in heard] == ["the disk is full"] * 3
        with pytest.raises(OSError, match="the disk is full"):
            await background.wait(task)

    asyncio.run(go())


@pytest.mark.parametrize("waited", [False, True])
def test_an_error_that_nobody_is_left_to_hear_of_is_not_complained_about(waited: bool) -> None:
    complaints: list[dict[str, Any]] = []

    async def go() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        begun = asyncio.Event()

        async def work() -> None:
            await begun.wait()
            raise OSError("the disk is full")

        task = background.start(work())
        if waited:
            waiting = asyncio.create_task(background.wait(task))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        begun.set()
        await asyncio.wait((task,))
        del task
        gc.collect()

    asyncio.run(go())
    gc.collect()
    assert complaints == []
