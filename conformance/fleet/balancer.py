"""A small TCP balancer: one address in front of several replicas.

Each new connection goes to the next replica that is ready. Like the balancers of the field, this one does not look
into a connection: one that is open stays with its replica.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from conformance.rpc.proxy import dial, reset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

PROBE_S: Final = 0.2
"""The pause between two looks whether a replica is ready."""
_CHUNK: Final = 65536


class Tasks:
    """Tasks that run until they are cancelled together. Their errors are expected: connections break."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Returns whether a task runs."""
        return bool(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def cancel(self) -> None:
        """Cancels all tasks, and returns when they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


class Readiness:
    """Looks again and again which replicas are ready."""

    def __init__(self, count: int, *, ready: Callable[[int], Awaitable[bool]]) -> None:
        """`ready` returns whether the replica of a number is ready."""
        self._is_ready = ready
        self.ready = [False] * count
        """The replicas that were ready when they were looked at last."""
        self._tasks = Tasks()

    def open(self) -> None:
        """Looks from now on. Does nothing if it does so already."""
        if not self._tasks:
            for number in range(len(self.ready)):
                self._tasks.start(self._probe(number))

    async def close(self) -> None:
        """Looks no more."""
        await self._tasks.cancel()

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
        self._listener: asyncio.Server | None = None
        self._tasks = Tasks()

    async def open(self) -> None:
        """Accepts connections from now on. Does nothing if it does so already. Raises OSError."""
        if self._listener is not None:
            return
        host, _, port = self._address.rpartition(":")
        self._listener = await asyncio.start_server(self._accept, host.strip("[]"), int(port))

    async def close(self) -> None:
        """Accepts no more connections, and resets all open ones."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        await self._tasks.cancel()

    def order(self) -> list[int]:
        """Returns the replicas that are ready, in the order in which the next connection tries them."""
        count = len(self._replicas)
        turns = ((self.newest + step) % count for step in range(1, count + 1))
        return [number for number in turns if self._readiness.ready[number]]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.start(self._join(reader, writer))

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
