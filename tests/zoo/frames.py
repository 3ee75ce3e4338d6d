"""Species that answer the HTTP/2 preface correctly, and break the connection or the call after it."""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import TYPE_CHECKING

from tests.zoo.http2 import (
    ACK,
    RESPONSE_HEADERS,
    Kind,
    Windows,
    block,
    data,
    frame,
    headers,
    message,
    requests,
    response_headers,
    settings,
)
from tests.zoo.sandbox import forever, reset
from tests.zoo.species import species

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.zoo.sandbox import Sandbox

NOT_ANSWERED = r"does not answer List: UNAVAILABLE"
BURST_FRAMES = 1000
"""The number of frames that a flood sends at a time."""
TOO_SLOW = r"does not answer List within 1 s$"


@species(TOO_SLOW, rpc=1)
async def greets_and_stops(sandbox: Sandbox) -> None:
    """Answers the HTTP/2 preface and nothing after it."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(settings())
        await forever()

    await sandbox.listen(handle)


@species(NOT_ANSWERED)
async def goes_away(sandbox: Sandbox) -> None:
    """Sends GOAWAY for every call."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer):
            writer.write(frame(Kind.GOAWAY, struct.pack(">II", 0, 0) + b"not today"))

    await sandbox.listen(handle)


@species(NOT_ANSWERED, rare=True)
async def hangs_up_on_calls(sandbox: Sandbox) -> None:
    """Resets the connection after each call that it receives."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer):
            reset(writer)

    await sandbox.listen(handle)


@species(r"does not answer List: (INTERNAL|UNAVAILABLE)")
async def resets_streams(sandbox: Sandbox) -> None:
    """Answers every call with RST_STREAM."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(frame(Kind.RST_STREAM, struct.pack(">I", 2), stream=stream))

    await sandbox.listen(handle)


@species(NOT_ANSWERED)
async def closes_in_a_message(sandbox: Sandbox) -> None:
    """Closes the connection in the middle of a message."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(response_headers(stream) + data(stream, message(b"\x0a", length=100)))
            await writer.drain()
            writer.close()

    await sandbox.listen(handle)


@species(TOO_SLOW, rpc=1, rare=True)
async def dribbles(sandbox: Sandbox) -> None:
    """Answers with a message of a kilobyte, a byte a second."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(response_headers(stream) + data(stream, message(b"", length=1024)))
            while True:
                writer.write(data(stream, b"\x0a"))
                await asyncio.sleep(1.0)

    await sandbox.listen(handle)


@species(r"returns a List that is larger than 64 MiB", hint="--max-answer")
async def claims_4_gigabytes(sandbox: Sandbox) -> None:
    """Answers with a message that says it has 4 GB, and begins to send it."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(response_headers(stream) + data(stream, message(bytes(2**12), length=2**32 - 1)))

    await sandbox.listen(handle)


@species(r"returns a List that is larger than 64 MiB", hint="--max-answer")
async def packs_a_bomb(sandbox: Sandbox) -> None:
    """Answers with 300 MB of zeros, compressed to 300 KB."""
    compressor = zlib.compressobj(level=1, wbits=31)
    bomb = b"".join(compressor.compress(bytes(10**6)) for _ in range(300)) + compressor.flush()
    compressed = message(bomb, compressed=True)
    opening = (*RESPONSE_HEADERS, ("grpc-encoding", "gzip"))

    async def send_all(stream: int, windows: Windows, writer: StreamWriter) -> None:
        for at in range(0, len(compressed), 2**13):
            piece = compressed[at : at + 2**13]
            await windows.take(stream, len(piece))
            writer.write(data(stream, piece))

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        windows, tasks = Windows(), []
        async for stream in requests(reader, writer, windows=windows):
            writer.write(headers(stream, *opening))
            tasks.append(asyncio.create_task(send_all(stream, windows, writer)))

    await sandbox.listen(handle)


@species(r"does not answer List", rpc=5)
async def never_ends_its_headers(sandbox: Sandbox) -> None:
    """Answers with headers and endless CONTINUATION frames."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(frame(Kind.HEADERS, block((":status", "200")), stream=stream))
            while True:
                writer.write(frame(Kind.CONTINUATION, block(("x-more", "y" * 8192)), stream=stream))
                await writer.drain()

    await sandbox.listen(handle)


@species(r"does not answer List", rpc=2)
async def floods_settings(sandbox: Sandbox) -> None:
    """Sends endless SETTINGS frames, a thousand at a time, each of which must be acknowledged."""
    await _flood(sandbox, frame(Kind.SETTINGS, b"\x00\x04\x00\x01\x00\x00"), frame(Kind.SETTINGS, flags=ACK))


@species(r"does not answer List", rpc=2, rare=True)
async def floods_pings(sandbox: Sandbox) -> None:
    """Sends endless PING frames, a thousand at a time, each of which must be answered."""
    await _flood(sandbox, frame(Kind.PING, b"pingpong"), frame(Kind.PING, b"pingpong", flags=ACK))


async def _flood(sandbox: Sandbox, flood_frame: bytes, acknowledgement: bytes) -> None:
    """Sends bursts of a frame, each after the previous burst was acknowledged.

    gRPC buffers the answers to a peer that does not read them, and the kit has no way to limit that buffer.
    """

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer):
            while True:
                writer.write(flood_frame * BURST_FRAMES)
                await reader.readexactly(BURST_FRAMES * len(acknowledgement))

    await sandbox.listen(handle)


@species(r"does not answer List", rpc=1, rare=True)
async def updates_by_nothing(sandbox: Sandbox) -> None:
    """Answers every call with a WINDOW_UPDATE of 0, which is an error."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(frame(Kind.WINDOW_UPDATE, struct.pack(">I", 0), stream=stream))

    await sandbox.listen(handle)


@species(TOO_SLOW, rpc=1, rare=True)
async def takes_nothing(sandbox: Sandbox) -> None:
    """Sets a window of 0 bytes, so that no request can be sent."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer, first_settings=settings(initial_window_size=0)):
            pass

    await sandbox.listen(handle)


@species(TOO_SLOW, rpc=1)
async def allows_no_streams(sandbox: Sandbox) -> None:
    """Allows no streams."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for _ in requests(reader, writer, first_settings=settings(max_concurrent_streams=0)):
            pass

    await sandbox.listen(handle)


@species(r"does not answer List: UN(KNOWN|AVAILABLE) \(no answer from the provider\)", rare=True)
async def sends_a_frame_too_large(sandbox: Sandbox) -> None:
    """Answers with a frame of 16 MB, above the limit of the client."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(response_headers(stream) + data(stream, bytes(2**24 - 1)))

    await sandbox.listen(handle)


@species(r"does not answer List: UNAVAILABLE \(no answer from the provider\)", hint="HTTP 502", rare=True)
async def answers_as_a_proxy(sandbox: Sandbox) -> None:
    """Answers like a proxy: with HTTP 502 and an HTML page."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(headers(stream, (":status", "502"), ("content-type", "text/html")))
            writer.write(frame(Kind.DATA, b"<h1>Bad Gateway</h1>", flags=1, stream=stream))

    await sandbox.listen(handle)
