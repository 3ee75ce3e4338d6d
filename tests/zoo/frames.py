"""HTTP/2 that greets as it should, and breaks the connection or the call after that."""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import TYPE_CHECKING

from tests.zoo.cage import forever, reset
from tests.zoo.http2 import (
    ACK,
    BEGINNING,
    Kind,
    Windows,
    beginning,
    block,
    data,
    frame,
    headers,
    message,
    requests,
    settings,
)
from tests.zoo.species import species

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.zoo.cage import Cage

NOT_ANSWERED = r"does not answer List: UNAVAILABLE"
BURST = 1000
"""Frames of a flood that go out at once."""
TOO_SLOW = r"does not answer List within 1 s$"


@species(TOO_SLOW, rpc=1)
async def greets_and_stops(cage: Cage) -> None:
    """Answers the preface, and nothing after it."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(settings())
        await forever()

    await cage.listen(meet)


@species(NOT_ANSWERED)
async def goes_away(cage: Cage) -> None:
    """Sends GOAWAY for every call."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer):
            writer.write(frame(Kind.GOAWAY, struct.pack(">II", 0, 0) + b"not today"))

    await cage.listen(meet)


@species(NOT_ANSWERED, rare=True)
async def hangs_up_on_calls(cage: Cage) -> None:
    """Resets the connection whenever it has heard a call."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer):
            reset(writer)

    await cage.listen(meet)


@species(r"does not answer List: (INTERNAL|UNAVAILABLE)")
async def resets_streams(cage: Cage) -> None:
    """Answers every call with RST_STREAM."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(frame(Kind.RST_STREAM, struct.pack(">I", 2), stream=stream))

    await cage.listen(meet)


@species(NOT_ANSWERED)
async def closes_in_a_message(cage: Cage) -> None:
    """Closes the connection in the middle of a message."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(beginning(stream) + data(stream, message(b"\x0a", length=100)))
            await writer.drain()
            writer.close()

    await cage.listen(meet)


@species(TOO_SLOW, rpc=1, rare=True)
async def dribbles(cage: Cage) -> None:
    """Answers with a message of a kilobyte, a byte a second."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(beginning(stream) + data(stream, message(b"", length=1024)))
            while True:
                writer.write(data(stream, b"\x0a"))
                await asyncio.sleep(1.0)

    await cage.listen(meet)


@species(r"returns a List that is larger than 64 MiB", mend="--max-answer")
async def claims_4_gigabytes(cage: Cage) -> None:
    """Answers with a message that says it has 4 GB, and begins to send it."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(beginning(stream) + data(stream, message(bytes(2**12), length=2**32 - 1)))

    await cage.listen(meet)


@species(r"returns a List that is larger than 64 MiB", mend="--max-answer")
async def packs_a_bomb(cage: Cage) -> None:
    """Answers with 300 MB of nothing, packed into 300 KB."""
    packer = zlib.compressobj(level=1, wbits=31)
    bomb = b"".join(packer.compress(bytes(10**6)) for _ in range(300)) + packer.flush()
    packed = message(bomb, packed=True)
    opening = (*BEGINNING, ("grpc-encoding", "gzip"))

    async def pour(stream: int, windows: Windows, writer: StreamWriter) -> None:
        for at in range(0, len(packed), 2**13):
            piece = packed[at : at + 2**13]
            await windows.take(stream, len(piece))
            writer.write(data(stream, piece))

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        windows, pouring = Windows(), []
        async for stream in requests(reader, writer, windows=windows):
            writer.write(headers(stream, *opening))
            pouring.append(asyncio.create_task(pour(stream, windows, writer)))

    await cage.listen(meet)


@species(r"does not answer List", rpc=5)
async def never_ends_its_headers(cage: Cage) -> None:
    """Answers with headers, and CONTINUATION after CONTINUATION."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(frame(Kind.HEADERS, block((":status", "200")), stream=stream))
            while True:
                writer.write(frame(Kind.CONTINUATION, block(("x-more", "y" * 8192)), stream=stream))
                await writer.drain()

    await cage.listen(meet)


@species(r"does not answer List", rpc=2)
async def floods_settings(cage: Cage) -> None:
    """Sends SETTINGS without end, a thousand at a time, each of which wants an acknowledgement."""
    await _flood(cage, frame(Kind.SETTINGS, b"\x00\x04\x00\x01\x00\x00"), frame(Kind.SETTINGS, flags=ACK))


@species(r"does not answer List", rpc=2, rare=True)
async def floods_pings(cage: Cage) -> None:
    """Sends PING without end, a thousand at a time, each of which wants an answer."""
    await _flood(cage, frame(Kind.PING, b"pingpong"), frame(Kind.PING, b"pingpong", flags=ACK))


async def _flood(cage: Cage, what: bytes, acknowledgement: bytes) -> None:
    """Send `what` for as long as it is acknowledged: who is not heard any more is given time to breathe.

    What gRPC owes to a peer that does not read is kept in memory, and nothing of ours could bound that.
    """

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer):
            while True:
                writer.write(what * BURST)
                await reader.readexactly(BURST * len(acknowledgement))

    await cage.listen(meet)


@species(r"does not answer List", rpc=1, rare=True)
async def updates_by_nothing(cage: Cage) -> None:
    """Answers every call with a WINDOW_UPDATE by 0, which is an error."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(frame(Kind.WINDOW_UPDATE, struct.pack(">I", 0), stream=stream))

    await cage.listen(meet)


@species(TOO_SLOW, rpc=1, rare=True)
async def takes_nothing(cage: Cage) -> None:
    """Opens a window of 0 bytes, so that no request can be sent."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer, ours=settings(initial_window_size=0)):
            pass

    await cage.listen(meet)


@species(TOO_SLOW, rpc=1)
async def allows_no_streams(cage: Cage) -> None:
    """Allows no stream at all."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer, ours=settings(max_concurrent_streams=0)):
            pass

    await cage.listen(meet)


@species(r"does not answer List: UN(KNOWN|AVAILABLE) \(no answer from the provider\)", rare=True)
async def sends_a_frame_too_large(cage: Cage) -> None:
    """Answers with a frame of 16 MB, which nobody has allowed."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(beginning(stream) + data(stream, bytes(2**24 - 1)))

    await cage.listen(meet)


@species(r"does not answer List: UN(KNOWN|AVAILABLE)", rare=True)
async def answers_as_a_proxy(cage: Cage) -> None:
    """A proxy in the way, which answers 502 and a page."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(headers(stream, (":status", "502"), ("content-type", "text/html")))
            writer.write(frame(Kind.DATA, b"<h1>Bad Gateway</h1>", flags=1, stream=stream))

    await cage.listen(meet)
