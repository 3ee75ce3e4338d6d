"""A cancelled property search stops at once: it tries no further case on a machine that is being cleaned up."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import strategies as st

from conformance.testkit.properties import check_property


def test_a_cancelled_search_tries_no_further_case() -> None:
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
        count = len(begun)
        await asyncio.sleep(0.05)  # time for further cases, of which there must be none
        assert len(begun) == count < 5

    asyncio.run(main())
    assert begun
