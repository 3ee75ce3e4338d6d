"""The weather, made: a local port before the target, where what passes is delayed, throttled or cut.

A storm breaks when it is told to and clears when it is told to; before and after, bytes pass as they come.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from conformance.rpc.faults.spec import FaultKind
from conformance.rpc.proxy import dial, reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from typing import Any

    from conformance.rpc.faults.spec import Fault
    from conformance.rpc.target import Target

_CHUNK: Final = 16384
_NOTICE_S: Final = 2.0
"""Seconds in which everybody has heard of a connection that was cut."""
MIN_CHUNKS: Final = 1000
"""Chunks that a connection has carried before it ends: on a busy machine too, enough is heard between two of them."""
_MAX_QUEUED_CHUNKS: Final = 64
"""Chunks that may be on their way at once on a connection, each way."""


class FaultProxy:
    """One run's weather. `target` is what to dial instead of the real one."""

    def __init__(self, target: Target, port: int, faults: Sequence[Fault], *, seed: int, min_chunks: int) -> None:
        self._min_chunks = min_chunks
        self.target = target.behind(f"127.0.0.1:{port}")
        self.counts: Counter[str] = Counter()
        """How often each thing has happened so far."""
        self._last_loss = -math.inf
        """When calls may last have been lost at random, on the loop's clock."""
        self._address = target.dial_address
        self._faults = {fault.kind: fault for fault in faults}
        self._random = random.Random(f"{seed}/weather")
        self._active = False
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """From now on there is weather, on the connections that there are and on new ones."""
        self._active = True
        if fault := self._fault(FaultKind.BLACKHOLE):
            self.spawn(self._blackholes(fault.low))
        for connection in list(self._connections):
            self._schedule_end(connection)

    def stop(self) -> None:
        """From now on all passes: connections that are half gone are reset, the others live."""
        self._active = False
        self._open.set()
        for connection in list(self._connections):
            if connection.dead:
                connection.cut()

    def may_have_dropped_since(self, since: float) -> bool:
        """Whether a call that was under way at any time `since` then, on the loop's clock, may be lost to the weather.

        Who calls on a connection that has just been cut is not told at once.
        """
        here = any(connection.dead for connection in self._connections) or not self._open.is_set()
        return here or self._last_loss >= since - _NOTICE_S

    def note_loss(self) -> None:
        """Now calls may be lost."""
        self._last_loss = asyncio.get_running_loop().time()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on until the storm is over."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Reset all connections, and end all that goes on."""
        self._active = False
        for connection in list(self._connections):
            connection.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fault(self, kind: FaultKind) -> Fault | None:
        return self._faults.get(kind) if self._active else None

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until it ends."""
        try:
            there, onward = await dial(self._address)
        except OSError:
            reset(writer)
            return
        connection = _Connection(writer, onward, self._min_chunks)
        self._connections.add(connection)
        self.counts["connections"] += 1
        if self._active:
            self._schedule_end(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(connection, reader, onward))
                group.create_task(self._carry(connection, there, writer))
            connection.close()
        finally:
            self._connections.discard(connection)
            if not connection.closed:
                connection.cut()

    async def _carry(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction of a connection: what is read goes on when it is due, in its order."""
        loop = asyncio.get_running_loop()
        due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue(_MAX_QUEUED_CHUNKS)

        async def deliver() -> None:
            while (item := await due.get()) is not None:
                at, data = item
                if (wait := at - loop.time()) > 0 and self._active:
                    await asyncio.sleep(wait)
                await self._open.wait()
                with suppress(OSError):
                    if not (connection.dead or writer.is_closing()):
                        writer.write(data)
                        connection.carry()
                        await writer.drain()
            if not (connection.dead or writer.is_closing()):
                with suppress(OSError):
                    writer.write_eof()

        delivery = asyncio.ensure_future(deliver())
        free = 0.0
        try:
            while chunk := await reader.read(_CHUNK):
                if connection.dead:
                    self._reset_client(connection)
                    break
                free = self._departure(free, loop.time(), len(chunk))
                await due.put((free, chunk))
            await due.put(None)
            await delivery
        except OSError:  # one end was reset, and so the other is
            if not connection.dead:
                connection.cut()
        finally:
            delivery.cancel()

    def _departure(self, free: float, now: float, size: int) -> float:
        """When bytes that are here now may go on, on a connection where those before them are through at `free`."""
        if fault := self._fault(FaultKind.DELAY):
            self.counts["delayed"] += 1
            now += self._random.uniform(fault.low, fault.high)
        if fault := self._fault(FaultKind.THROTTLE):
            self.counts["throttled"] += 1
            return max(now, free) + size / fault.low
        return max(now, free)

    def _schedule_end(self, connection: _Connection) -> None:
        """Say when a connection ends, and how."""
        for kind, end in ((FaultKind.RESET, self._reset), (FaultKind.HALF_OPEN, self._half_close)):
            if fault := self._fault(kind):
                self.spawn(self._end_after(fault.low * self._random.uniform(0.5, 1.5), connection, end))

    async def _end_after(self, seconds: float, connection: _Connection, end: Callable[[_Connection], None]) -> None:
        await asyncio.sleep(seconds)
        await connection.served.wait()
        if self._active and connection in self._connections and not connection.dead:
            self.note_loss()
            end(connection)

    def _reset(self, connection: _Connection) -> None:
        self.counts["resets"] += 1
        connection.cut()

    def _half_close(self, connection: _Connection) -> None:
        self.counts["half-open"] += 1
        connection.half()
        self.spawn(self._notice_later(connection))

    async def _notice_later(self, connection: _Connection) -> None:
        """Who has nothing to say is told by a keepalive, sooner or later."""
        await asyncio.sleep(_NOTICE_S)
        self._reset_client(connection)

    def _reset_client(self, connection: _Connection) -> None:
        if connection in self._connections:
            self.note_loss()
            connection.cut()

    async def _blackholes(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds * self._random.uniform(0.5, 1.5))
            if not self._active:
                return
            self.counts["blackholes"] += 1
            self._open.clear()
            await asyncio.sleep(seconds)
            self._open.set()
            self.note_loss()


class _Connection:
    """One connection: ours to the storm, and the storm's to the provider."""

    def __init__(self, here: asyncio.StreamWriter, there: asyncio.StreamWriter, min_chunks: int) -> None:
        self._here, self._there = here, there
        self._left = min_chunks
        self.served = asyncio.Event()
        """Whether it has carried what it must before it may end."""
        self.carry()
        self.dead = False
        """Whether the provider's end is gone, and ours has not been told."""

    def carry(self) -> None:
        """One more chunk has gone its way, either of them."""
        self._left -= 1
        if self._left < 0:
            self.served.set()

    @property
    def closed(self) -> bool:
        """Whether both ends were closed in peace."""
        return self._here.is_closing() and self._there.is_closing()

    def close(self) -> None:
        """Close both ends, once all that was said has got through."""
        self._here.close()
        self._there.close()

    def cut(self) -> None:
        """Reset both ends."""
        reset(self._here)
        reset(self._there)

    def half(self) -> None:
        """Reset the provider's end alone."""
        self.dead = True
        reset(self._there)


@asynccontextmanager
async def fault_proxy(
    target: Target, faults: Sequence[Fault], *, seed: int, min_chunks: int = MIN_CHUNKS
) -> AsyncIterator[FaultProxy]:
    """A storm before the target for as long as the body runs; it has not broken yet.

    No connection ends before it has carried `min_chunks` chunks.
    """
    made: list[FaultProxy] = []

    def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made[0].spawn(made[0].join(reader, writer))

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    made.append(FaultProxy(target, server.sockets[0].getsockname()[1], faults, seed=seed, min_chunks=min_chunks))
    try:
        yield made[0]
    finally:
        server.close()
        await made[0].end()
