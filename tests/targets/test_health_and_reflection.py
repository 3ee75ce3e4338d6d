"""Health and reflection behind a proxy, or under two names (WIR-4)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from conformance.core.errors import Violation
from conformance.fleet.probe import probe
from conformance.rpc import reflection
from conformance.suite.test_wire import test_health_is_serving as judge_health
from fake_provider.server import serving
from selftest.variants import ReflectionV1
from tests.runs import connected, provider
from tests.zoo import http2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def proxy_without_a_route(status: int) -> AsyncIterator[str]:
    """Answers every request with an HTTP status and no gRPC status."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for stream in http2.requests(reader, writer):
                writer.write(http2.headers(stream, (":status", str(status)), ("content-type", "text/html"), end=True))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_a_proxy_without_a_route_to_the_health_service_is_a_violation() -> None:
    async def go() -> str:
        async with proxy_without_a_route(404) as address, connected(address) as client:
            with pytest.raises(Violation) as caught:
                await judge_health(SimpleNamespace(client=client))  # type: ignore[arg-type]
            return caught.value.got

    got = asyncio.run(go())
    assert got.startswith("UNIMPLEMENTED: ")
    assert "404" in got


def test_reflection_is_seen_under_either_name() -> None:
    async def go(**options: Any) -> tuple[bool, set[str]]:
        async with serving(provider(3), **options) as address, connected(address) as client:
            found = await probe(client, run="cpc-test")
            return found.reflection, set(await reflection.fetch_descriptors(client))

    v1, v1alpha = reflection.REFLECTION_SERVICES
    assert asyncio.run(go()) == (True, {v1alpha})
    assert asyncio.run(go(servicer=ReflectionV1, reflection=False)) == (True, {v1})
    assert asyncio.run(go(servicer=ReflectionV1)) == (True, {v1, v1alpha})
    assert asyncio.run(go(reflection=False)) == (False, set())


class RefusesV1(ReflectionV1):
    """Aborts reflection under its newer name."""

    def handlers(self) -> Any:
        async def refuse(requests: Any, context: Any) -> None:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you")

        methods: dict[str, Any] = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(refuse)}
        return (grpc.method_handlers_generic_handler(reflection.REFLECTION_SERVICES[0], methods),)


def test_one_reflection_service_that_fails_does_not_hide_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflection, "INSISTENT_RETRY_DELAYS", (0.0,))

    async def go() -> set[str]:
        async with serving(provider(3), servicer=RefusesV1) as address, connected(address) as client:
            return set(await reflection.fetch_descriptors(client))

    assert asyncio.run(go()) == {reflection.REFLECTION_SERVICES[1]}


@asynccontextmanager
async def server_that_refuses_streams(number: int) -> AsyncIterator[tuple[str, list[int]]]:
    """Refuses the first `number` streams unseen, and answers the others that it implements nothing."""
    streams: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for kind, _, stream in http2.frames(reader, writer):
                if kind != http2.Kind.HEADERS:
                    continue
                streams.append(stream)
                if len(streams) <= number:
                    writer.write(http2.reset(stream, http2.REFUSED_STREAM))
                else:
                    trailers = (*http2.RESPONSE_HEADERS, ("grpc-status", "12"))
                    writer.write(http2.headers(stream, *trailers, end=True))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the test is over
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", streams


@pytest.mark.parametrize("refused", [1, 8])
def test_a_stream_that_the_server_refused_unseen_is_opened_again(refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflection, "INSISTENT_RETRY_DELAYS", (0.0,) * 9)

    async def go() -> None:
        async with server_that_refuses_streams(refused) as (address, streams), connected(address) as client:
            assert await reflection.fetch_descriptors(client) == {}
            assert len(streams) > refused

    asyncio.run(go())
