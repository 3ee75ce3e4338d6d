"""A small TCP balancer: one address in front of several replicas.

Each new connection goes to the next replica that is ready. Like the balancers of the field, this one does not look
into a connection: one that is open stays with its replica.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

from conformance.rpc.proxy import accepting, dial, reset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

PROBE_S: Final = 0.2
"""The pause between two looks whether a replica is ready."""
_CHUNK: Final = 65536


class Readiness:
    """Looks again and again which replicas are ready."""

    def __init__(self, count: int, *, ready: Callable[[int], Awaitable[bool]]) -> None:
        """`ready` returns whether the replica of a number is ready."""
        self._is_ready = ready
        self.ready = [False] * count
        """The replicas that were ready when they were looked at last."""
        self._probes: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Looks from now on. Does nothing if it does so already."""
        if not self._probes:
            self._probes = [asyncio.create_task(self._probe(number)) for number in range(len(self.ready))]

    async def close(self) -> None:
        """Looks no more."""
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        self._probes = []

    async def look(self, number: int) -> bool:
        """Looks whether a replica is ready, and returns that."""
        self.ready[number] = await self._is_ready(number)
        return self.ready[number]

    async def _probe(self, number: int) -> None:
        while True:
            await self.look(number)
            await asyncio.sleep(PROBE_S)


class Balancer:
    """Accepts connections at one address, and passes them on in turn to the replicas that are ready."""

    def __init__(self, address: str, replicas: Sequence[str], readiness: Readiness) -> None:
        self._address, self._replicas, self._readiness = address, tuple(replicas), readiness
        self.newest = -1
        """The number of the replica that got the newest connection; -1 before the first one."""
        self._open: AsyncExitStack | None = None

    async def open(self) -> None:
        """Accepts connections from now on. Does nothing if it does so already. Raises OSError."""
        if self._open is None:
            host, _, port = self._address.rpartition(":")
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(accepting(self._join, host.strip("[]"), int(port)))
                self._open = stack.pop_all()

    async def close(self) -> None:
        """Accepts no more connections, and resets all open ones."""
        if self._open is not None:
            await self._open.aclose()
            self._open = None

    def order(self) -> list[int]:
        """Returns the replicas that are ready, in the order in which the next connection tries them."""
        count = len(self._replicas)
        turns = ((self.newest + step) % count for step in range(1, count + 1))
        return [number for number in turns if self._readiness.ready[number]]

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend = await self._dial()
        if backend is None:
            reset(writer)
            return
        from_backend, to_backend = backend
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, to_backend))
                group.create_task(_pump(from_backend, writer))
            for each in (to_backend, writer):
                each.close()  # what was written is still sent
        finally:
            if not to_backend.is_closing():
                reset(to_backend)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connects to the next replica; returns None if none accepts the connection."""
        for number in self.order():
            self.newest = number
            with suppress(OSError):
                return await dial(self._replicas[number])
            self._readiness.ready[number] = False
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
