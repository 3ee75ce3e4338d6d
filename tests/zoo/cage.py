"""Where a species lives: the socket that it answers on, and the account that it gives of its machines."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    Meet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Cage:
    """One species, alive until `over`. `directory` is for its files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.over = asyncio.Event()
        self.account: Callable[[], Mapping[str, str]] = dict
        """The machines that are not as they were found, each with its state, whatever the species says over gRPC."""

    async def stand(self, address: str, *options: str) -> None:
        """Say that the target is there, and how it is to be dialled; return when nobody wants it any more."""
        self.say({"address": address, "options": options})
        await self.over.wait()

    async def listen(self, meet: Meet, *options: str, tls: ssl.SSLContext | None = None) -> None:
        """Let every connection meet the species; who is hung up on, or hangs up, is not worth a word."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await meet(reader, writer)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        server_socket = server.sockets[0]
        await self.stand(f"127.0.0.1:{server_socket.getsockname()[1]}", *options)
        server.close()

    def die(self) -> None:
        """End at once, as a process does that was killed; the account is given first, by somebody who knows."""
        self.say(dict(self.account()))
        os._exit(1)

    def say(self, what: object) -> None:
        """One line of JSON to whoever started this."""
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


async def forever() -> None:
    """Do nothing, and never return."""
    await asyncio.Event().wait()


def reset(writer: asyncio.StreamWriter) -> None:
    """Hang up with a RST, whatever is still under way."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
