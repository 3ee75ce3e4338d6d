"""A small TCP balancer: one address in front of several replicas.

Each new connection goes to the next replica that is ready. Like the balancers of the field, this one does not look
into a connection: one that is open stays with its replica.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from conformance.rpc.proxy import dial, reset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

PROBE_S: Final = 0.2
"""The pause between two looks whether a replica is ready."""
_CHUNK: Final = 65536


class Balancer:
    """Accepts connections at one address, and passes them on in turn to the backends that are ready."""

    def __init__(self, address: str, backends: Sequence[str], *, ready: Callable[[int], Awaitable[bool]]) -> None:
        """`ready` returns whether the backend of a number is ready; it is asked again and again."""
        self._address, self._backends, self._is_ready = address, tuple(backends), ready
        self.ready = [False] * len(backends)
        """The backends that were ready when they were looked at last."""
        self.newest = -1
        """The number of the backend that got the newest connection; -1 before the first one."""
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Accepts connections from now on. Does nothing if it does so already. Raises OSError."""
        if self._listener is not None:
            return
        host, _, port = self._address.rpartition(":")
        self._listener = await asyncio.start_server(self._accept, host.strip("[]"), int(port))
        for number in range(len(self._backends)):
            self._start(self._probe(number))

    async def close(self) -> None:
        """Accepts no more connections, and resets all open ones."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def order(self) -> list[int]:
        """Returns the backends that are ready, in the order in which the next connection tries them."""
        count = len(self._backends)
        turns = ((self.newest + step) % count for step in range(1, count + 1))
        return [number for number in turns if self.ready[number]]

    async def look(self, number: int) -> bool:
        """Looks whether a backend is ready, and returns that."""
        self.ready[number] = await self._is_ready(number)
        return self.ready[number]

    async def _probe(self, number: int) -> None:
        while True:
            await self.look(number)
            await asyncio.sleep(PROBE_S)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # connections are expected to break

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._start(self._join(reader, writer))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend = None
        try:
            backend = await self._dial()
            if backend is None:
                return
            from_backend, to_backend = backend
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, to_backend))
                group.create_task(_pump(from_backend, writer))
            for each in (writer, to_backend):
                each.close()  # what was written is still sent
            return
        except* OSError:
            pass
        finally:
            for each in (writer, *(backend[1:] if backend else ())):
                if not each.is_closing():
                    reset(each)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connects to the next backend; returns None if none accepts the connection."""
        for number in self.order():
            self.newest = number
            with suppress(OSError):
                return await dial(self._backends[number])
            self.ready[number] = False
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
