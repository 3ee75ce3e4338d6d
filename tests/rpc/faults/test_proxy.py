"""The fault proxy: each fault on a connection to a real server, and its effect on a client."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import grpc
import pytest

from conformance.core.errors import TargetError
from conformance.core.fencing import Shard
from conformance.engine.faults import injected_faults
from conformance.fleet.probe import connect
from conformance.rpc.client import Client
from conformance.rpc.faults.proxy import fault_proxy
from conformance.rpc.faults.spec import parse_faults
from conformance.rpc.target import Target
from fake_provider.server import serving
from tests.runs import connected, provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conformance.rpc.faults.injection import FaultInjection
    from fake_provider.core import Core


@asynccontextmanager
async def with_faults(*faults: str, core: Core | None = None) -> AsyncIterator[tuple[Client, FaultInjection]]:
    """Connects to a fake provider with injected faults; yields the client and its faults."""
    async with (
        serving(core or provider()) as address,
        connected(address) as client,
        injected_faults(client, parse_faults(faults), seed=7, min_chunks=0),
    ):
        assert client.faults is not None
        yield client, client.faults


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        ("delay=1ms", "delayed"),
        ("delay=1ms..5ms", "delayed"),
        ("throttle=20kB", "throttled"),
        ("reset=50ms", "resets"),
        ("half-open=50ms", "half-open"),
        ("blackhole=50ms", "blackholes"),
    ],
)
def test_reads_are_answered_under_every_fault(fault: str, count: str) -> None:
    async def run() -> None:
        async with with_faults(fault) as (client, injected):
            while not injected.stats().did.get(count):
                assert (await client.list()).ok
            listing = await client.list()
            assert (listing.ok, len(listing.response.machines)) == (True, 16)

    asyncio.run(run())


def test_delayed_bytes_arrive_in_order() -> None:
    async def run() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while chunk := await reader.read(1 << 16):
                writer.write(chunk)
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        target = Target(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with (
            server,
            fault_proxy(target, parse_faults(["delay=0.1ms..9ms", "throttle=50MB"]), seed=7, min_chunks=0) as running,
        ):
            running.start()
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", int(running.target.dial_address.rpartition(":")[2])
            )
            sent = bytes(range(256)) * 2000
            writer.write(sent)
            writer.write_eof()
            assert await reader.read(-1) == sent
            writer.close()

    asyncio.run(run())


def test_a_reset_call_was_not_answered_by_the_provider() -> None:
    async def run() -> None:
        async with with_faults("reset=50ms", core=provider(latency=0.0)) as (client, injected):
            codes = set()
            while not injected.stats().again:
                call = await client.create("machine-0001", Shard("s").next())
                codes |= {call.code} if not call.answered else set()
                await client.list()
            assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}

    asyncio.run(run())


def test_a_half_open_connection_is_reset_when_the_client_sends() -> None:
    async def run() -> None:
        provider_end_closed = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionResetError):
                await reader.read(-1)
            provider_end_closed.set()
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        target = Target(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with server, fault_proxy(target, parse_faults(["half-open=50ms"]), seed=7, min_chunks=0) as running:
            running.start()
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", int(running.target.dial_address.rpartition(":")[2])
            )
            await provider_end_closed.wait()
            reply = asyncio.ensure_future(reader.read(1))
            await asyncio.sleep(0)
            assert not reply.done()
            writer.write(b"hello?")
            with pytest.raises(ConnectionResetError):
                await reply
            writer.close()

    asyncio.run(run())


def test_a_connection_to_an_unreachable_target_is_reset() -> None:
    async def run() -> None:
        async with fault_proxy(Target(address="127.0.0.1:1"), (), seed=7, min_chunks=0) as running:
            client = Client(running.target)
            with pytest.raises(TargetError):
                await connect(client, timeout=0.5)
            await client.close()

    asyncio.run(run())


def test_after_stop_no_faults_are_injected() -> None:
    async def run() -> None:
        async with with_faults("reset=50ms", "delay=1ms") as (client, injected):
            await client.list()
            injected.stop()
            before = injected.stats()
            await asyncio.sleep(0.2)
            for _ in range(20):
                assert (await client.list()).ok
            assert injected.stats().did.get("delayed") == before.did.get("delayed")
            assert injected.stats().did.get("resets", 0) == before.did.get("resets", 0)

    asyncio.run(run())


def test_a_target_behind_a_proxy_keeps_its_own_address() -> None:
    running = Target(address="provider.example:443").behind("127.0.0.1:9")
    assert (running.address, running.dial_address) == ("provider.example:443", "127.0.0.1:9")
    assert Target(address="h:1").dial_address == "h:1"


def test_faults_are_injected_into_a_unix_socket(tmp_path: Path) -> None:
    async def run() -> None:
        address = f"unix:{tmp_path}/provider"
        async with (
            serving(provider(), address=address),
            connected(address) as client,
            injected_faults(client, parse_faults(["delay=1ms"]), seed=7, min_chunks=0),
        ):
            assert (await client.list()).ok

    asyncio.run(run())
