"""A proxy that closes each HTTP/2 connection after a number of requests, as Hypercorn does after 1,000.

It counts the HEADERS frames that the client sends. The last request is still forwarded. Then the proxy sends a GOAWAY
that says so, or nothing, and closes: the provider has carried out the calls that are under way, and their answers are
lost. That is the worst that a conformant server may do to its clients.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from conformance.rpc.proxy import accepting, dial, reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEADER: Final = 9
_HEADERS, _GOAWAY = 0x1, 0x7


class ShortConnections:
    """Forwards connections to `address`, each of them for `requests` requests."""

    def __init__(self, address: str, *, requests: int, goaway: bool = True) -> None:
        self.address, self.requests, self.goaway = address, requests, goaway
        self.closed = 0
        """The number of connections that were closed because they had reached their number of requests."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards one connection."""
        from_provider, to_provider = await dial(self.address)
        answers = asyncio.ensure_future(_forward_frames(from_provider, writer))
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                last = await self._forward_requests(reader, to_provider)
                if last:
                    await self._close(writer, answers, last)
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            writer.close()
            to_provider.close()

    async def _forward_requests(self, reader: asyncio.StreamReader, to_provider: asyncio.StreamWriter) -> int:
        """Forwards frames up to the last allowed request. Returns its stream id."""
        to_provider.write(await reader.readexactly(len(_PREFACE)))
        seen = 0
        while True:
            frame = await _frame(reader)
            to_provider.write(frame)
            await to_provider.drain()
            if frame[3] == _HEADERS:
                seen += 1
                if seen == self.requests:
                    return int.from_bytes(frame[5:9], "big")

    async def _close(self, writer: asyncio.StreamWriter, answers: asyncio.Future[None], last: int) -> None:
        self.closed += 1
        answers.cancel()  # between two frames, or before the first byte of one was written
        await asyncio.gather(answers, return_exceptions=True)
        if not self.goaway:
            reset(writer)
            return
        payload = last.to_bytes(4, "big") + bytes(4)
        writer.write(len(payload).to_bytes(3, "big") + bytes([_GOAWAY, 0]) + bytes(4) + payload)
        await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """Returns the next whole frame. Raises IncompleteReadError at the end of the connection."""
    header = await reader.readexactly(_FRAME_HEADER)
    return header + await reader.readexactly(int.from_bytes(header[:3], "big"))


async def _forward_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forwards whole frames until the connection ends."""
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            writer.write(await _frame(reader))
            await writer.drain()


@asynccontextmanager
async def short_connections(
    address: str, *, requests: int, goaway: bool = True
) -> AsyncIterator[tuple[str, ShortConnections]]:
    """Yields the address of a proxy in front of `address`, and the proxy."""
    proxy = ShortConnections(address, requests=requests, goaway=goaway)
    async with accepting(proxy.handle) as port:
        yield f"127.0.0.1:{port}", proxy
