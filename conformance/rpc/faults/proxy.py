"""The fault proxy: a local port in front of the target that delays and throttles bytes and ends connections.

It injects faults between `start` and `stop`; before and after, bytes pass unchanged.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from conformance.rpc.faults.spec import FaultKind
from conformance.rpc.proxy import accepting, dial, reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from typing import Any

    from conformance.rpc.faults.spec import Fault
    from conformance.rpc.target import Target

_CHUNK: Final = 16384
_NOTICE_S: Final = 2.0
"""Seconds after which all clients have noticed that a connection was reset."""
MIN_CHUNKS: Final = 1000
"""Chunks that a connection carries before a fault may end it, so that a slow computer makes progress in between."""
_MAX_QUEUED_CHUNKS: Final = 64
"""Maximum number of chunks in transit per connection and direction."""


class FaultProxy:
    """The network faults of one run. Clients connect to `target` instead of the real target."""

    def __init__(self, target: Target, port: int, faults: Sequence[Fault], *, seed: int, min_chunks: int) -> None:
        self._min_chunks = min_chunks
        self.target = target.behind(f"127.0.0.1:{port}")
        self.counts: Counter[str] = Counter()
        """The number of connections, resets, delayed chunks and so on so far."""
        self._last_loss = -math.inf
        """The last time at which calls may have been lost, on the loop's clock."""
        self._address = target.dial_address
        self._faults = {fault.kind: fault for fault in faults}
        self._random = random.Random(f"{seed}/faults")
        self._active = False
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Injects faults from now on, into existing and new connections."""
        self._active = True
        if fault := self._fault(FaultKind.BLACKHOLE):
            self.spawn(self._blackholes(fault.low))
        for connection in list(self._connections):
            self._schedule_end(connection)

    def stop(self) -> None:
        """Injects no more faults: half-open connections are reset, the others stay open."""
        self._active = False
        self._open.set()
        for connection in list(self._connections):
            if connection.half_open:
                connection.cut()

    def may_have_dropped_since(self, since: float) -> bool:
        """Returns whether a call under way at or after `since`, on the loop's clock, may have been dropped by a fault.

        A caller learns about a closed connection only after a delay.
        """
        active = any(connection.half_open for connection in self._connections) or not self._open.is_set()
        return active or self._last_loss >= since - _NOTICE_S

    def note_loss(self) -> None:
        """Records that calls may have been lost now."""
        self._last_loss = asyncio.get_running_loop().time()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task that ends with the proxy at the latest."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Resets all connections and cancels all tasks."""
        self._active = False
        for connection in list(self._connections):
            connection.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fault(self, kind: FaultKind) -> Fault | None:
        return self._faults.get(kind) if self._active else None

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards one connection until it ends."""
        try:
            from_provider, to_provider = await dial(self._address)
        except OSError:
            reset(writer)
            return
        connection = _Connection(writer, to_provider, self._min_chunks)
        self._connections.add(connection)
        self.counts["connections"] += 1
        if self._active:
            self._schedule_end(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(connection, reader, to_provider))
                group.create_task(self._forward(connection, from_provider, writer))
            connection.close()
        finally:
            self._connections.discard(connection)
            if not connection.closed:
                connection.cut()

    async def _forward(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Forwards one direction of a connection: each chunk is sent at its departure time, in order."""
        loop = asyncio.get_running_loop()
        due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue(_MAX_QUEUED_CHUNKS)

        async def deliver() -> None:
            while (item := await due.get()) is not None:
                at, data = item
                if (wait := at - loop.time()) > 0 and self._active:
                    await asyncio.sleep(wait)
                await self._open.wait()
                with suppress(OSError):
                    if not (connection.half_open or writer.is_closing()):
                        writer.write(data)
                        connection.count_chunk()
                        await writer.drain()
            if not (connection.half_open or writer.is_closing()):
                with suppress(OSError):
                    writer.write_eof()

        delivery = asyncio.ensure_future(deliver())
        free = 0.0
        try:
            while chunk := await reader.read(_CHUNK):
                if connection.half_open:
                    self._reset_client(connection)
                    break
                free = self._departure(free, loop.time(), len(chunk))
                await due.put((free, chunk))
            await due.put(None)
            await delivery
        except OSError:  # one end was reset, so the other one is too
            if not connection.half_open:
                connection.cut()
        finally:
            delivery.cancel()

    def _departure(self, free: float, now: float, size: int) -> float:
        """Returns the departure time of a chunk that arrives `now`, after the previous one has left at `free`."""
        if fault := self._fault(FaultKind.DELAY):
            self.counts["delayed"] += 1
            now += self._random.uniform(fault.low, fault.high)
        if fault := self._fault(FaultKind.THROTTLE):
            self.counts["throttled"] += 1
            return max(now, free) + size / fault.low
        return max(now, free)

    def _schedule_end(self, connection: _Connection) -> None:
        """Schedules the fault that ends a connection."""
        for kind, end in ((FaultKind.RESET, self._reset), (FaultKind.HALF_OPEN, self._half_close)):
            if fault := self._fault(kind):
                self.spawn(self._end_after(fault.low * self._random.uniform(0.5, 1.5), connection, end))

    async def _end_after(self, seconds: float, connection: _Connection, end: Callable[[_Connection], None]) -> None:
        await asyncio.sleep(seconds)
        await connection.min_chunks_sent.wait()
        if self._active and connection in self._connections and not connection.half_open:
            self.note_loss()
            end(connection)

    def _reset(self, connection: _Connection) -> None:
        self.counts["resets"] += 1
        connection.cut()

    def _half_close(self, connection: _Connection) -> None:
        self.counts["half-open"] += 1
        connection.half_close()
        self.spawn(self._reset_unnoticed(connection))

    async def _reset_unnoticed(self, connection: _Connection) -> None:
        """Resets a half-open connection whose client sends nothing, as a keepalive would detect it."""
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
    """A forwarded connection: from the client to the proxy, and from the proxy to the provider."""

    def __init__(self, client: asyncio.StreamWriter, provider: asyncio.StreamWriter, min_chunks: int) -> None:
        self._client, self._provider = client, provider
        self._chunks_left = min_chunks
        self.min_chunks_sent = asyncio.Event()
        """Set once the connection has carried its minimum number of chunks."""
        self.count_chunk()
        self.half_open = False
        """True if the provider's end was reset, and the client's end not yet."""

    def count_chunk(self) -> None:
        """Counts a forwarded chunk, in either direction."""
        self._chunks_left -= 1
        if self._chunks_left < 0:
            self.min_chunks_sent.set()

    @property
    def closed(self) -> bool:
        """True if both ends were closed normally."""
        return self._client.is_closing() and self._provider.is_closing()

    def close(self) -> None:
        """Closes both ends after all sent bytes have passed."""
        self._client.close()
        self._provider.close()

    def cut(self) -> None:
        """Resets both ends."""
        reset(self._client)
        reset(self._provider)

    def half_close(self) -> None:
        """Resets only the provider's end."""
        self.half_open = True
        reset(self._provider)


@asynccontextmanager
async def fault_proxy(
    target: Target, faults: Sequence[Fault], *, seed: int, min_chunks: int = MIN_CHUNKS
) -> AsyncIterator[FaultProxy]:
    """Runs a fault proxy in front of the target while the body runs; it injects faults once `start` is called.

    No fault ends a connection before it has carried `min_chunks` chunks.
    """
    made: list[FaultProxy] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await made[0].handle(reader, writer)

    async with accepting(handle) as port:
        made.append(FaultProxy(target, port, faults, seed=seed, min_chunks=min_chunks))
        try:
            yield made[0]
        finally:
            await made[0].close()
