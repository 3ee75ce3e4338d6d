"""A way to the provider that can be cut: bytes pass through until they are held back, or the line goes dead."""

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
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends RST, as a machine that lost its network or a dead NAT entry would."""


class Proxy:
    """One local port before the target. `target` is what to dial instead of the real one."""

    def __init__(self, target: Target, port: int) -> None:
        self.target = target.behind(f"127.0.0.1:{port}")
        self._lines: list[asyncio.StreamWriter] = []
        self._open = asyncio.Event()
        self._open.set()

    def pause_responses(self) -> None:
        """From now on nothing that the provider says gets through; what the client says does."""
        self._open.clear()

    def cut(self) -> None:
        """Reset all connections, on both sides."""
        for line in self._lines:
            reset(line)
        self._lines.clear()

    async def _join(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, onward = await dial(target.dial_address)
            self._lines += [writer, onward]
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, onward, held=False))
                group.create_task(self._pump(there, writer, held=True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if held:
                    await self._open.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy(target: Target) -> AsyncIterator[Proxy]:
    """A relay to the target, for as long as the body runs."""
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


def reset(line: asyncio.StreamWriter) -> None:
    """Close a connection at once, and tell the other end so."""
    raw = line.get_extra_info("socket")
    with suppress(OSError):  # a line that has closed by itself meanwhile
        if raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    line.transport.abort()


async def dial(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to what gRPC calls so. Raises OSError."""
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.removeprefix("dns:///").rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))
