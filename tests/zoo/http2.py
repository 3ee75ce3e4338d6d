"""A minimal HTTP/2 server for hostile answers: frames, uncompressed headers, and a loop that reads requests."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1


class Kind(IntEnum):
    """The frame types that are used here."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """The settings that are used here."""

    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4


def frame(kind: Kind, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Returns one frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """Returns a SETTINGS frame, for example `settings(initial_window_size=0)`."""
    pairs = ((Setting[name.upper()], value) for name, value in values.items())
    return frame(Kind.SETTINGS, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def block(*pairs: tuple[str, str]) -> bytes:
    """Returns a header block of literals without indexing."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in pairs)


def headers(stream: int, *pairs: tuple[str, str], end: bool = False) -> bytes:
    """Returns a HEADERS frame; `end` ends the stream."""
    return frame(Kind.HEADERS, block(*pairs), flags=END_HEADERS | (END_STREAM if end else 0), stream=stream)


REFUSED_STREAM: Final = 7
"""The error code of a stream that the server did not process."""


def reset(stream: int, error: int) -> bytes:
    """Returns a RST_STREAM frame."""
    return frame(Kind.RST_STREAM, struct.pack(">I", error), stream=stream)


RESPONSE_HEADERS: Final = ((":status", "200"), ("content-type", "application/grpc"))
"""The response headers of every gRPC answer."""


def response_headers(stream: int) -> bytes:
    """Returns the response headers of an answer with a message."""
    return headers(stream, *RESPONSE_HEADERS)


def message(payload: bytes, *, length: int | None = None, compressed: bool = False) -> bytes:
    """Returns a gRPC message for DATA frames; `length` is a false length in its prefix."""
    return struct.pack(">BI", compressed, len(payload) if length is None else length) + payload


def data(stream: int, payload: bytes) -> bytes:
    """Returns a DATA frame that does not end the stream."""
    return frame(Kind.DATA, payload, stream=stream)


class Windows:
    """The flow-control windows of the client, in bytes, for the connection and each stream."""

    def __init__(self) -> None:
        self._initial = 65535
        self._left: Counter[int] = Counter({0: 65535})
        """Bytes by stream; 0 is the connection. For a stream, the difference to the initial window."""
        self._changed = asyncio.Event()

    def update(self, kind: int, stream: int, payload: bytes) -> None:
        """Updates the windows from a received frame."""
        match kind:
            case Kind.SETTINGS:
                pairs = (struct.unpack_from(">HI", payload, at) for at in range(0, len(payload), 6))
                self._initial = dict(pairs).get(Setting.INITIAL_WINDOW_SIZE, self._initial)
            case Kind.WINDOW_UPDATE:
                self._left[stream] += int.from_bytes(payload)
        self._changed.set()

    async def take(self, stream: int, size: int) -> None:
        """Waits until `size` bytes may be sent, and subtracts them."""
        while min(self._left[0], self._initial + self._left[stream]) < size:
            self._changed.clear()
            await self._changed.wait()
        self._left.subtract({0: size, stream: size})


async def requests(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    first_settings: bytes = b"",
    windows: Windows | None = None,
) -> AsyncIterator[int]:
    """Yields the stream of each complete request. `first_settings` is sent instead of an empty SETTINGS frame."""
    async for kind, flags, stream in frames(reader, writer, first_settings=first_settings, windows=windows):
        if kind in (Kind.DATA, Kind.HEADERS) and flags & END_STREAM:
            yield stream


async def frames(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    first_settings: bytes = b"",
    windows: Windows | None = None,
) -> AsyncIterator[tuple[int, int, int]]:
    """Yields type, flags and stream of each frame; answers SETTINGS and PING frames itself."""
    await reader.readexactly(len(PREFACE))
    writer.write(first_settings or frame(Kind.SETTINGS))
    while True:
        head = await reader.readexactly(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = await reader.readexactly(int.from_bytes(head[:3]))
        if windows is not None and not (kind == Kind.SETTINGS and flags & ACK):
            windows.update(kind, stream, payload)
        if kind in (Kind.SETTINGS, Kind.PING) and not flags & ACK:
            writer.write(frame(Kind(kind), payload if kind == Kind.PING else b"", flags=ACK))
        yield kind, flags, stream
        await writer.drain()


def _text(text: str) -> bytes:
    return _number(len(text)) + text.encode("latin-1")


def _number(number: int) -> bytes:
    """Returns an HPACK integer with a seven-bit prefix."""
    if number < 127:
        return bytes([number])
    left, octets = number - 127, bytearray([127])
    while left >= 128:
        octets.append(left & 127 | 128)
        left >>= 7
    return bytes([*octets, left])
