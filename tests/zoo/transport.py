"""Below gRPC: sockets that do not do what a server's do."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from tests.zoo.cage import forever, reset
from tests.zoo.species import species

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.zoo.cage import Cage

WEB = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nwhat?"


@species(r"refuses connections$", mend="is the provider running", connect=1)
async def nobody(cage: Cage) -> None:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await cage.stand(f"127.0.0.1:{taken.getsockname()[1]}")


@species(r"no-such-host\.invalid:9000 cannot be resolved", mend="host name", connect=1)
async def unknown_name(cage: Cage) -> None:
    """A host name that nobody knows."""
    await cage.stand("no-such-host.invalid:9000")


@species(r"there is no such socket|no such file", connect=1)
async def no_socket(cage: Cage) -> None:
    """The path of a UNIX socket that is not there."""
    await cage.stand(f"unix:{cage.directory / 'provider.sock'}")


@species(r"refuses connections|not a socket", connect=1, rare=True)
async def not_a_socket(cage: Cage) -> None:
    """The path of a file that is no socket."""
    path = cage.directory / "provider.sock"
    path.touch()
    await cage.stand(f"unix:{path}")


@species(r"accepts connections, but sends no gRPC response within 1 s$", mend="--tls-ca", connect=1)
async def silent(cage: Cage) -> None:
    """Accepts connections, and never says a word."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        await forever()

    await cage.listen(meet)


@species(r"closes the connection before the gRPC handshake is complete", mend="is it a gRPC server", connect=2)
async def hangs_up(cage: Cage) -> None:
    """Accepts connections and closes them."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        writer.close()

    await cage.listen(meet)


@species(r"closes the connection before the gRPC handshake is complete", connect=2, rare=True)
async def resets(cage: Cage) -> None:
    """Reads 20 bytes and resets the connection."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readexactly(20)
        reset(writer)

    await cage.listen(meet)


@species(r"does not speak gRPC", mend="is it a gRPC server", connect=2)
async def mail(cage: Cage) -> None:
    """A mail server, which speaks first."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    await cage.listen(meet)


@species(r"does not speak gRPC", mend="is it a gRPC server", connect=2)
async def web(cage: Cage) -> None:
    """A web server that speaks HTTP/1.1."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readline()
        writer.write(WEB)

    await cage.listen(meet)


@species(r"does not speak gRPC", connect=2, rare=True)
async def noise(cage: Cage) -> None:
    """Answers with bytes that mean nothing, for as long as somebody listens."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            writer.write(bytes(range(255, 0, -1)) * 64)
            await writer.drain()

    await cage.listen(meet)


@species(r"sends no gRPC response within 2 s$", connect=2, rare=True)
async def dribbles_its_greeting(cage: Cage) -> None:
    """Speaks HTTP/2, a byte a second from the first on."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        for byte in b"\x00\x00\x00\x04\x00\x00\x00\x00\x00":
            await asyncio.sleep(1.0)
            writer.write(bytes([byte]))

    await cage.listen(meet)
