"""Species below gRPC: addresses and sockets that do not behave like those of a server."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from tests.zoo.sandbox import forever, reset
from tests.zoo.species import species

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.zoo.sandbox import Sandbox

WEB = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nwhat?"


@species(r"refuses connections$", hint="is the provider running", connect=1)
async def nobody(sandbox: Sandbox) -> None:
    """A port without a server."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await sandbox.announce(f"127.0.0.1:{taken.getsockname()[1]}")


@species(r"no-such-host\.invalid:9000 cannot be resolved", hint="host name", connect=1)
async def unknown_name(sandbox: Sandbox) -> None:
    """An unknown host name."""
    await sandbox.announce("no-such-host.invalid:9000")


@species(r"there is no such socket|no such file", connect=1)
async def no_socket(sandbox: Sandbox) -> None:
    """The path of a UNIX socket that does not exist."""
    await sandbox.announce(f"unix:{sandbox.directory / 'provider.sock'}")


@species(r"refuses connections|not a socket", connect=1, rare=True)
async def not_a_socket(sandbox: Sandbox) -> None:
    """The path of a file that is not a socket."""
    path = sandbox.directory / "provider.sock"
    path.touch()
    await sandbox.announce(f"unix:{path}")


@species(r"accepts connections but says nothing that is gRPC within 1 s$", hint="--tls-ca", connect=1)
async def silent(sandbox: Sandbox) -> None:
    """Accepts connections and never sends a byte."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await forever()

    await sandbox.listen(handle)


@species(r"before a gRPC connection is made", hint="is it a gRPC server", connect=2)
async def hangs_up(sandbox: Sandbox) -> None:
    """Accepts connections and closes them."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        writer.close()

    await sandbox.listen(handle)


@species(r"before a gRPC connection is made", connect=2, rare=True)
async def resets(sandbox: Sandbox) -> None:
    """Reads 20 bytes and resets the connection."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readexactly(20)
        reset(writer)

    await sandbox.listen(handle)


@species(r"answers, but not in gRPC", hint="is it a gRPC server", connect=2)
async def mail(sandbox: Sandbox) -> None:
    """A mail server, which sends the first line."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    await sandbox.listen(handle)


@species(r"answers, but not in gRPC", hint="is it a gRPC server", connect=2)
async def web(sandbox: Sandbox) -> None:
    """A web server that speaks HTTP/1.1."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readline()
        writer.write(WEB)

    await sandbox.listen(handle)


@species(r"answers, but not in gRPC", connect=2, rare=True)
async def noise(sandbox: Sandbox) -> None:
    """Sends endless meaningless bytes."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            writer.write(bytes(range(255, 0, -1)) * 64)
            await writer.drain()

    await sandbox.listen(handle)


@species(r"says nothing that is gRPC within 2 s$", connect=2, rare=True)
async def dribbles_its_greeting(sandbox: Sandbox) -> None:
    """Speaks HTTP/2 at one byte per second."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        for byte in b"\x00\x00\x00\x04\x00\x00\x00\x00\x00":
            await asyncio.sleep(1.0)
            writer.write(bytes([byte]))

    await sandbox.listen(handle)
