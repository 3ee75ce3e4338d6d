"""A search that is cancelled is over: nothing that it would still try reaches a machine on its way home."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import strategies as st

from conformance.testkit.properties import check_property


def test_nothing_is_judged_once_the_search_is_cancelled() -> None:
    begun: list[int] = []

    async def main() -> None:
        first = asyncio.Event()

        async def judge(case: int) -> None:
            begun.append(case)
            first.set()
            await asyncio.sleep(0.01)

        search = asyncio.create_task(check_property(st.integers(), judge, examples=200, seed=1))
        await first.wait()
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        told = len(begun)
        await asyncio.sleep(0.05)  # there is nothing to wait for: that is what is shown
        assert len(begun) == told < 5

    asyncio.run(main())
    assert begun
