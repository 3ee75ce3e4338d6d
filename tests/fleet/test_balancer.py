"""The balancer: each new connection goes to the next backend that is ready, and one that refuses is passed over."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from conformance.fleet.balancer import Balancer, Readiness
from conformance.frontends.cli.provider_options import free_port


class Backends:
    """Servers that answer each connection with their number, and a balancer in front of them."""

    def __init__(self, count: int) -> None:
        self.ready = [True] * count
        self.ports = [free_port() for _ in range(count)]
        self.address = f"127.0.0.1:{free_port()}"
        self.readiness = Readiness(count, ready=self.is_ready)
        self.balancer = Balancer(self.address, [f"127.0.0.1:{port}" for port in self.ports], self.readiness)

    async def is_ready(self, number: int) -> bool:
        return self.ready[number]

    async def serve(self, stack: AsyncExitStack, *numbers: int) -> None:
        """Starts some of the servers, and the balancer."""
        for number in numbers:

            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int = number) -> None:
                writer.write(b"%d:" % number + await reader.read(100))
                writer.close()

            server = await asyncio.start_server(answer, "127.0.0.1", self.ports[number])
            stack.callback(server.close)
        self.readiness.open()
        await self.balancer.open()
        stack.push_async_callback(self.readiness.close)
        stack.push_async_callback(self.balancer.close)
        for number in range(len(self.ports)):
            await self.readiness.look(number)

    async def ask(self) -> bytes:
        """Returns the answer to one connection; empty if it was closed."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(b"hello")
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.close()


def test_connections_go_round_the_backends() -> None:
    async def go() -> list[bytes]:
        backends = Backends(3)
        async with AsyncExitStack() as stack:
            await backends.serve(stack, 0, 1, 2)
            return [await backends.ask() for _ in range(4)]

    assert asyncio.run(go()) == [b"0:hello", b"1:hello", b"2:hello", b"0:hello"]


def test_a_backend_that_is_not_ready_gets_no_connection() -> None:
    async def go() -> set[bytes]:
        backends = Backends(3)
        backends.ready[1] = False
        async with AsyncExitStack() as stack:
            await backends.serve(stack, 0, 1, 2)
            return {await backends.ask() for _ in range(4)}

    assert asyncio.run(go()) == {b"0:hello", b"2:hello"}


def test_a_backend_that_refuses_is_passed_over() -> None:
    async def go() -> set[bytes]:
        backends = Backends(2)
        async with AsyncExitStack() as stack:
            await backends.serve(stack, 1)
            return {await backends.ask() for _ in range(3)}

    assert asyncio.run(go()) == {b"1:hello"}


def test_without_a_backend_a_connection_is_closed() -> None:
    async def go() -> bytes:
        backends = Backends(2)
        backends.ready = [False, False]
        async with AsyncExitStack() as stack:
            await backends.serve(stack)
            return await backends.ask()

    assert asyncio.run(go()) == b""


def test_a_closed_balancer_accepts_no_connection() -> None:
    async def go() -> None:
        backends = Backends(1)
        async with AsyncExitStack() as stack:
            await backends.serve(stack, 0)
        with pytest.raises(ConnectionRefusedError):
            await backends.ask()

    asyncio.run(go())
