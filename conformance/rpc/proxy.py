"""A pass-through proxy whose responses can be paused and whose connections can be reset."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conformance.rpc.target import Target

_CHUNK: Final = 65536
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with a timeout of 0: closing sends RST, as after a network failure or an expired NAT entry."""


class Proxy:
    """A local port in front of the target. Clients connect to `target` instead of the real target."""

    def __init__(self, target: Target, port: int) -> None:
        self.target = target.behind(f"127.0.0.1:{port}")
        self._writers: list[asyncio.StreamWriter] = []
        self._open = asyncio.Event()
        self._open.set()

    def pause_responses(self) -> None:
        """Holds back all bytes from the provider from now on; bytes from the client still pass."""
        self._open.clear()

    def cut(self) -> None:
        """Resets all connections, on both sides."""
        for writer in self._writers:
            reset(writer)
        self._writers.clear()

    async def _join(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_provider, to_provider = await dial(target.dial_address)
        except OSError:
            reset(writer)
            return
        with suppress(OSError):
            self._writers += [writer, to_provider]
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, to_provider, pausable=False))
                group.create_task(self._pump(from_provider, writer, pausable=True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, pausable: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if pausable:
                    await self._open.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy(target: Target) -> AsyncIterator[Proxy]:
    """Runs a proxy to the target while the body runs."""
    joined: set[asyncio.Task[None]] = set()
    made: list[Proxy] = []

    def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        joined.add(asyncio.ensure_future(made[0]._join(target, reader, writer)))

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    made.append(Proxy(target, server.sockets[0].getsockname()[1]))
    try:
        yield made[0]
    finally:
        server.close()
        made[0].cut()
        for task in joined:
            task.cancel()
        await asyncio.gather(*joined, return_exceptions=True)


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes a connection immediately with RST."""
    raw = writer.get_extra_info("socket")
    with suppress(OSError):  # the connection may be closed already
        if raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


async def dial(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connects to an address in gRPC's notation. Raises OSError."""
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.removeprefix("dns:///").rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))
