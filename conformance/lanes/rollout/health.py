"""Watches what the health service says while the provider stops."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc
from grpc_health.v1 import health_pb2

from conformance.rpc.reflection import serving_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from conformance.rpc.client import Client

PAUSE_S: Final = 0.01
"""The pause between two Checks."""
FIRST_S: Final = 1.0
"""The longest wait for the first message of a stream."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """The answers of the health service: over a Watch stream, and to Checks since the stop began."""

    watched: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set when the stream has sent its first message, or ended."""


@asynccontextmanager
async def watching(client: Client) -> AsyncIterator[Seen]:
    """Watches the health service over a stream that stays open while the body runs, where it is served."""
    seen = Seen()
    task = asyncio.ensure_future(_watch(client, seen))
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                await seen.first.wait()
        yield seen
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _watch(client: Client, seen: Seen) -> None:
    method = client.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    try:
        async for answer in method(health_pb2.HealthCheckRequest(), metadata=client.target.headers or None):
            seen.watched.append(serving_status(answer))
            seen.first.set()
    except grpc.aio.AioRpcError:
        pass
    finally:
        seen.first.set()


async def check_until(ended: Awaitable[object], client: Client, seen: Seen) -> None:
    """Asks the health service again and again until the provider has ended, or does not answer any more."""
    end = asyncio.ensure_future(ended)
    while not end.done():
        call = await client.call_path(
            "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
        )
        if not call.answered:
            return
        seen.checked.append(serving_status(call.response) if call.ok else call.code.name)
        await asyncio.wait({end}, timeout=PAUSE_S)
