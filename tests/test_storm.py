"""The weather, made: each fault on a line to a real server, and what a client hears then."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import grpc
import pytest

from conformance.client import Client
from conformance.engine_faults import weather
from conformance.errors import TargetError
from conformance.lifecycle import State, Verb
from conformance.machine import Machine
from conformance.probe import connect
from conformance.storm import Storm, storm
from conformance.target import Target
from conformance.token import Shard, Token
from conformance.weather import parse_faults
from fake_provider import machine as fake
from fake_provider.core import Core
from fake_provider.server import serving
from tests.runs import connected, provider, yard_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fake_provider.fence import Token as FakeToken
    from fake_provider.request import Request


@asynccontextmanager
async def in_weather(*faults: str, core: Core | None = None) -> AsyncIterator[tuple[Client, Storm]]:
    """A client of a fake, and the storm between them."""
    async with (
        serving(core or provider()) as address,
        connected(address) as client,
        weather(client, parse_faults(faults), seed=7, least=0),
    ):
        assert client.storm is not None
        yield client, client.storm


@pytest.mark.parametrize(
    ("fault", "did"),
    [
        ("delay=1ms", "delayed"),
        ("delay=1ms..5ms", "delayed"),
        ("throttle=20kB", "throttled"),
        ("reset=50ms", "resets"),
        ("half-open=50ms", "half-open"),
        ("blackhole=50ms", "blackholes"),
    ],
)
def test_readings_are_answered_in_any_weather(fault: str, did: str) -> None:
    async def run() -> None:
        async with in_weather(fault) as (client, storm):
            while not storm.told().did.get(did):
                assert (await client.list()).ok
            listing = await client.list()
            assert (listing.ok, len(listing.response.machines)) == (True, 16)

    asyncio.run(run())


def test_bytes_come_in_their_order_however_they_are_delayed() -> None:
    async def run() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while chunk := await reader.read(1 << 16):
                writer.write(chunk)
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        target = Target(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with server, storm(target, parse_faults(["delay=0.1ms..9ms", "throttle=50MB"]), seed=7, least=0) as made:
            made.breaks()
            reader, writer = await asyncio.open_connection("127.0.0.1", int(made.target.dialled.rpartition(":")[2]))
            sent = bytes(range(256)) * 2000
            writer.write(sent)
            writer.write_eof()
            assert await reader.read(-1) == sent
            writer.close()

    asyncio.run(run())


def test_a_reset_call_was_not_answered_by_the_provider() -> None:
    async def run() -> None:
        async with in_weather("reset=50ms", core=provider(latency=0.0)) as (client, storm):
            codes = set()
            while not storm.told().again:
                call = await client.create("machine-0001", Shard("s").next())
                codes |= {call.code} if not call.answered else set()
                await client.list()
            assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}

    asyncio.run(run())


def test_a_half_open_connection_is_told_when_it_speaks() -> None:
    async def run() -> None:
        gone = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionResetError):
                await reader.read(-1)
            gone.set()
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        target = Target(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with server, storm(target, parse_faults(["half-open=50ms"]), seed=7, least=0) as made:
            made.breaks()
            reader, writer = await asyncio.open_connection("127.0.0.1", int(made.target.dialled.rpartition(":")[2]))
            await gone.wait()
            hears = asyncio.ensure_future(reader.read(1))
            await asyncio.sleep(0)
            assert not hears.done()
            writer.write(b"hello?")
            with pytest.raises(ConnectionResetError):
                await hears
            writer.close()

    asyncio.run(run())


def test_a_target_that_is_not_there_is_reset() -> None:
    async def run() -> None:
        async with storm(Target(address="127.0.0.1:1"), (), seed=7, least=0) as made:
            client = Client(made.target)
            with pytest.raises(TargetError):
                await connect(client, timeout=0.5)
            await client.close()

    asyncio.run(run())


def test_once_it_clears_nothing_happens_any_more() -> None:
    async def run() -> None:
        async with in_weather("reset=50ms", "delay=1ms") as (client, storm):
            await client.list()
            storm.clears()
            before = storm.told()
            await asyncio.sleep(0.2)
            for _ in range(20):
                assert (await client.list()).ok
            assert storm.told().did.get("delayed") == before.did.get("delayed")
            assert storm.told().did.get("resets", 0) == before.did.get("resets", 0)

    asyncio.run(run())


def test_a_provider_hears_the_name_that_it_was_called_by() -> None:
    made = Target(address="provider.example:443").by_way_of("127.0.0.1:9")
    assert (made.address, made.dialled) == ("provider.example:443", "127.0.0.1:9")
    assert Target(address="h:1").dialled == "h:1"


def test_a_socket_in_the_file_system_has_weather_too(tmp_path: Path) -> None:
    async def run() -> None:
        where = f"unix:{tmp_path}/provider"
        async with (
            serving(provider(), address=where),
            connected(where) as client,
            weather(client, parse_faults(["lost-answer"]), seed=7, least=0),
        ):
            assert (await client.list()).ok

    asyncio.run(run())


# Answers that are lost, and calls that are made again.


class StartsAnother(Core):
    """A Create that comes again starts another machine."""

    def retry_of(self, verb: fake.Verb, machine: fake.Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        return self.new_operation_id(verb, machine) if known and verb is fake.Verb.CREATE else known


class ForgetsTheToken(Core):
    """A token that has passed passes again."""

    def unfenced(self, token: FakeToken) -> bool:
        return True


async def after_a_lost_create(core: Core, token: Token | None = None, *, again: int) -> Machine:
    async with (
        serving(core) as address,
        yard_at(address) as yard,
        weather(yard.client, parse_faults(["lost-answer"]), seed=7, least=0),
    ):
        machine = Machine("machine-0001", yard, number=1)
        machine.exposed = {Verb.CREATE}
        call = await machine.create(token)
        assert call.ok
        assert call.answered
        await machine.bring(State.IDLE)
        assert yard.client.storm is not None
        assert yard.client.storm.told().lost == {"Create": 1}
        assert yard.client.storm.told().again == {"Create": again}
        return machine


def test_a_create_whose_answer_is_lost_is_made_again_and_is_the_same() -> None:
    machine = asyncio.run(after_a_lost_create(provider(), again=2))
    assert machine.breach is None
    assert machine.live
    assert not machine.unheard


def test_with_a_token_of_the_behaviours_own_the_lost_answer_is_what_counts() -> None:
    machine = asyncio.run(after_a_lost_create(provider(), Token("another", 1, 1), again=1))
    assert machine.breach is None
    assert machine.live


def test_a_retry_with_another_operation_is_a_breach() -> None:
    breach = asyncio.run(after_a_lost_create(provider(cls=StartsAnother), again=2)).breach
    assert breach is not None
    assert breach.clauses == ("OPS-2",)
    assert "the retry of Create, whose answer was lost, to have operation id" in breach.wanted
    assert [call.rpc for call in breach.calls] == ["Create", "Create"]


def test_a_token_that_passes_twice_is_a_breach() -> None:
    breach = asyncio.run(after_a_lost_create(provider(cls=ForgetsTheToken), again=1)).breach
    assert breach is not None
    assert breach.clauses == ("FEN-1", "FEN-6")
    assert "to be fenced" in breach.wanted
