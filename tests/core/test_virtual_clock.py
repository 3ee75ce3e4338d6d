from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies

from conformance.core.virtual_clock import virtual_clock
from conformance.testkit.properties import check_property

HOUR = 3600.0


def now() -> float:
    return asyncio.get_running_loop().time()


def test_an_hour_passes_without_real_waiting() -> None:
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


def test_a_timeout_expires_at_its_virtual_time() -> None:
    async def main() -> float:
        try:
            async with asyncio.timeout(10):
                await asyncio.sleep(HOUR)
        except TimeoutError:
            return now()
        raise AssertionError("the timeout did not expire")

    assert virtual_clock(main()) == 10


def test_spent_time_delays_tasks_that_are_due_meanwhile() -> None:
    async def main() -> float:
        loop: Any = asyncio.get_running_loop()
        sleeper = asyncio.create_task(asyncio.sleep(1))
        await asyncio.sleep(0)
        loop.spend(5)
        await sleeper
        return now()

    assert virtual_clock(main()) == 5


def test_the_loop_waits_for_a_thread_and_no_time_passes() -> None:
    """Otherwise a wait for a thread with a timeout would always time out."""

    async def main() -> tuple[int, float]:
        async with asyncio.timeout(HOUR):
            answer = await asyncio.to_thread(lambda: sum(range(10**6)))
        return answer, now()

    assert virtual_clock(main()) == (sum(range(10**6)), 0.0)


def test_a_thread_that_waits_for_the_loop_does_not_stop_the_clock() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()

        async def slow() -> float:
            await asyncio.sleep(HOUR)
            return now()

        def work() -> list[float]:
            return [asyncio.run_coroutine_threadsafe(slow(), loop).result() for _ in range(3)]

        return (await asyncio.to_thread(work))[-1]

    assert virtual_clock(main()) == 3 * HOUR


def test_properties_are_checked_on_a_virtual_clock() -> None:
    cases: list[int] = []

    async def main() -> float:
        async def judge(case: int) -> None:
            cases.append(case)
            await asyncio.sleep(60)

        await check_property(strategies.integers(0, 10**6), judge, examples=5, seed=3)
        return now()

    assert virtual_clock(main()) == 60 * len(cases)
    assert len(cases) == 5


def test_the_clock_waits_for_a_socket_in_an_external_wait() -> None:
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
