"""The sandbox of a species: its sockets, its files, and its report of the machines that were not returned."""

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

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Sandbox:
    """The sandbox of one species, which runs until `over`. `directory` is for its files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.over = asyncio.Event()
        self.machines_left: Callable[[], Mapping[str, str]] = dict
        """Returns the machines that were not returned, with their true states, independent of the species' answers."""

    async def announce(self, address: str, *options: str) -> None:
        """Prints the target's address and the kit's options for it; returns when the run is over."""
        self.print_json({"address": address, "options": options})
        await self.over.wait()

    async def listen(self, handle: Handler, *options: str, tls: ssl.SSLContext | None = None) -> None:
        """Calls `handle` for every connection; ignores connections that either side closes."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await handle(reader, writer)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        server_socket = server.sockets[0]
        await self.announce(f"127.0.0.1:{server_socket.getsockname()[1]}", *options)
        server.close()

    def exit_now(self) -> None:
        """Exits immediately, like a killed process, but prints the machines that were not returned first."""
        self.print_json(dict(self.machines_left()))
        os._exit(1)

    def print_json(self, value: object) -> None:
        """Prints one line of JSON for the parent process."""
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


async def forever() -> None:
    """Never returns."""
    await asyncio.Event().wait()


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes the connection with a RST."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
