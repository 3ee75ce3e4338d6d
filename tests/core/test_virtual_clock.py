from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies

from conformance.core.virtual_clock import virtual_clock
from conformance.testkit.properties import check_property

HOUR = 3600.0


def now() -> float:
    return asyncio.get_running_loop().time()


def test_an_hour_passes_without_anybody_waiting_for_it() -> None:
    async def main() -> float:
        await asyncio.sleep(HOUR)
        return now()

    assert virtual_clock(main()) == HOUR


def test_waits_end_in_the_order_of_their_times() -> None:
    ended: list[tuple[float, str]] = []

    async def wait(seconds: float, name: str) -> None:
        await asyncio.sleep(seconds)
        ended.append((round(now(), 6), name))

    async def main() -> None:
        await asyncio.gather(wait(90, "c"), wait(30, "a"), wait(60, "b"))

    virtual_clock(main())
    assert ended == [(30, "a"), (60, "b"), (90, "c")]


def test_a_timeout_strikes_when_its_time_has_come() -> None:
    async def main() -> float:
        try:
            async with asyncio.timeout(10):
                await asyncio.sleep(HOUR)
        except TimeoutError:
            return now()
        raise AssertionError("nobody was in time")

    assert virtual_clock(main()) == 10


def test_work_takes_what_is_spent_on_it_and_whoever_is_due_meanwhile_is_late() -> None:
    async def main() -> float:
        loop: Any = asyncio.get_running_loop()
        sleeper = asyncio.create_task(asyncio.sleep(1))
        await asyncio.sleep(0)
        loop.spend(5)
        await sleeper
        return now()

    assert virtual_clock(main()) == 5


def test_a_thread_is_waited_for_and_no_time_passes() -> None:
    """Else whoever waits for the thread with a timeout would never see its answer."""

    async def main() -> tuple[int, float]:
        async with asyncio.timeout(HOUR):
            answer = await asyncio.to_thread(lambda: sum(range(10**6)))
        return answer, now()

    assert virtual_clock(main()) == (sum(range(10**6)), 0.0)


def test_a_thread_that_waits_for_the_loop_does_not_hold_the_clock() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()

        async def slow() -> float:
            await asyncio.sleep(HOUR)
            return now()

        def work() -> list[float]:
            return [asyncio.run_coroutine_threadsafe(slow(), loop).result() for _ in range(3)]

        return (await asyncio.to_thread(work))[-1]

    assert virtual_clock(main()) == 3 * HOUR


def test_properties_are_explored_on_it() -> None:
    cases: list[int] = []

    async def main() -> float:
        async def judge(case: int) -> None:
            cases.append(case)
            await asyncio.sleep(60)

        await check_property(strategies.integers(0, 10**6), judge, examples=5, seed=3)
        return now()

    assert virtual_clock(main()) == 60 * len(cases)
    assert len(cases) == 5


def test_a_socket_is_waited_for_where_it_is_foreign() -> None:
    async def main() -> tuple[bytes, float]:
        loop: Any = asyncio.get_running_loop()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(2))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            with loop.external_wait():
                async with asyncio.timeout(HOUR):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(b"hi")
                    got = await reader.readexactly(2)
            writer.close()
        return got, now()

    assert virtual_clock(main()) == (b"hi", 0.0)
