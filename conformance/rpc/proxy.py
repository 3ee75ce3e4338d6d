"""A pass-through proxy whose responses can be paused and whose connections can be reset."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

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

    def resume_responses(self) -> None:
        """Passes on the bytes from the provider again, also those that were held back on open connections."""
        self._open.set()

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
    made: list[Proxy] = []

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await made[0]._join(target, reader, writer)

    async with accepting(join) as port:
        made.append(Proxy(target, port))
        try:
            yield made[0]
        finally:
            made[0].cut()


@asynccontextmanager
async def accepting(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[int]:
    """Accepts connections on a port, a free one if it is 0, while the body runs, and handles each in a task.

    A handler closes its connection itself, unless it is cancelled or fails: then the connection is reset. So no
    connection outlives the body, not even one that was accepted a moment before its end and never handled. Yields the
    port. Raises OSError.
    """
    tasks: set[asyncio.Task[None]] = set()
    ended = False

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if ended:
            reset(writer)
            return
        task = asyncio.ensure_future(handle(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda task: finish(task, writer))

    def finish(task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        tasks.discard(task)
        if task.cancelled() or task.exception():
            reset(writer)

    server = await asyncio.start_server(accept, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended = True
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
