"""A provider in this process that can be killed and restarted at the same address, and the backend of its hosts."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from conformance.core.errors import StillRunning, TargetError
from conformance.rpc.proxy import dial, reset
from fake_provider.errors import CannotServe
from fake_provider.server import Server
from fake_provider.store import MemoryStore, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from fake_provider.core import Core
    from fake_provider.store import Snapshot

_CHUNK: Final = 65536
_GRACE_S: Final = 2.0
"""The time in seconds that running calls have to finish when the provider stops in an orderly way."""
STOP_TIMEOUT_S: Final = 8.0
"""The time in seconds after which a provider that was asked to stop is killed."""
_NOTICE_S: Final = 0.3
"""The time in seconds for which the health service says NOT_SERVING before that."""


class RestartableProvider:
    """Serves a core at one local port. A kill loses all that is not in the store, as SIGKILL does."""

    def __init__(
        self,
        core: Callable[[Store], Core],
        *,
        store: Callable[[], Store] | None = None,
        startup: float = 0.0,
        server: type[Server] = Server,
        newer: Mapping[str, Any] | None = None,
        **serving: Any,
    ) -> None:
        """Makes a provider that does not run yet.

        Each start opens the store and makes a new core with it; without `store`, all starts share one in memory. A core
        with a buffer of its own wraps the store that it gets: a kill drops the wrapper and closes only what was opened
        here, while an orderly stop closes the core's store.
        `startup` is the time in seconds that a start takes before the port is open, `server` the class of the server,
        and `serving` are its options. `newer` are other values of `core`, `server` and these options: those of a newer
        version.
        """
        memory = MemoryStore()
        self.core: Core | None = None
        """The core that is served now; None while the provider does not run."""
        self._make_core = core
        self._open_store = store or (lambda: memory)
        self._startup = startup
        self._server_class = server
        self._serving = serving
        self._newer = newer
        self._death = ""
        self._port = _FrontPort()
        self._store: _CuttableStore | None = None
        self._server: Server | None = None

    @property
    def address(self) -> str:
        """The address as `host:port`, the same for the life of this object."""
        return self._port.address

    @property
    def running(self) -> bool:
        """True from a start to the next kill or stop."""
        return self._server is not None

    @property
    def can_upgrade(self) -> bool:
        """True if there is a newer version, and the next start would still be one of the older one."""
        return self._newer is not None

    def upgrade(self) -> None:
        """Makes every later start one of the newer version."""
        if self._newer is not None:
            changed, self._newer = dict(self._newer), None
            self._make_core = changed.pop("core", self._make_core)
            self._server_class = changed.pop("server", self._server_class)
            self._serving |= changed

    @property
    def death(self) -> str:
        """The reason why its last start has failed; empty otherwise: it never ends by itself."""
        return self._death

    async def start(self, *, wait: bool = True) -> None:
        """Starts the provider on what the store holds; it serves on return, whether or not the caller waits.

        Does nothing if it runs.
        """
        if self.running:
            return
        await asyncio.sleep(self._startup)
        self._store = _CuttableStore(self._open_store())
        try:
            self.core = self._make_core(self._store)
        except CannotServe as error:
            self._death = f"the provider ended during its start: {error}"
            self._store.close()
            raise TargetError(self._death) from error
        self._death = ""
        self._server = self._server_class(self.core, **self._serving)
        await self._port.open(await self._server.start())

    async def kill(self) -> None:
        """Ends the provider: connections break first, and what the core still does reaches neither caller nor store."""
        server, store = self._server, self._store
        self._server = self._store = self.core = None
        if server and store:
            store.cut()
            self._port.close()
            await server.drop()

    async def stop(self) -> float:
        """Stops the provider in an orderly way; returns the seconds that it took. Raises StillRunning."""
        began = time.monotonic()
        server, core, store = self._server, self.core, self._store
        self._server = self._store = self.core = None
        if server and core and store:
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await server.stop(_GRACE_S, notice=_NOTICE_S)
                    await self._port.drain()
            except TimeoutError:
                store.cut()
                self._port.close()
                await server.drop()
                raise StillRunning(f"the provider did not end within {STOP_TIMEOUT_S:g} s, and was killed") from None
            core.store.close()
        return time.monotonic() - began

    async def close(self) -> None:
        """Kills the provider if it runs, and gives its port back."""
        await self.kill()
        self._port.release()


class InProcessBackend:
    """The hosts that run, by their refs: the backend of a core, and what the kit asks about it.

    It is not part of the provider: a kill does not change it.
    """

    def __init__(self) -> None:
        self.running: set[str] = set()

    def start(self, ref: str) -> None:
        """Starts a host; does nothing if it runs already."""
        self.running.add(ref)

    def terminate(self, ref: str) -> None:
        """Terminates a host; does nothing if it does not run."""
        self.running.discard(ref)

    async def hosts(self) -> frozenset[str]:
        """Returns the refs of the hosts that run."""
        return frozenset(self.running)


class _CuttableStore(Store):
    """A store that saves nothing more after a kill, though the killed core may still try."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cut = False

    @property
    def shared(self) -> bool:
        return self._store.shared

    def load(self) -> Snapshot | None:
        return self._store.load()

    def changes(self) -> Snapshot | None:
        return self._store.changes()

    def exclusive(self) -> AbstractContextManager[None]:
        return self._store.exclusive()

    def save(self, change: Snapshot) -> None:
        if self._cut:
            raise OSError("the provider was killed")
        self._store.save(change)

    def close(self) -> None:
        self._store.close()

    def cut(self) -> None:
        """Saves nothing more, and closes the store, as the end of a process does."""
        self._cut = True
        self._store.close()


class _FrontPort:
    """The provider's port: a proxy to the current server, because only a proxy can cut connections like a kill."""

    def __init__(self) -> None:
        # This socket never listens. It keeps the port for the provider while it is down: no other process gets it.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self, server: str) -> None:
        """Accepts connections and passes them on to the server."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._listener is not listener:
                reset(writer)
                return
            self._writers.add(writer)  # here, because a task that is cancelled at once never begins
            task = asyncio.ensure_future(self._join(server, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        listener = self._listener = await asyncio.start_server(accept, sock=_bound(self.port))

    def close(self) -> None:
        """Refuses new connections and cuts all open ones."""
        if self._listener:
            self._listener.close()
            self._listener = None
        for writer in self._writers:
            reset(writer)
        self._writers.clear()
        for task in self._tasks:
            task.cancel()

    async def drain(self) -> None:
        """Closes the port after the server has stopped: what it has written still reaches the callers."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE_S)
        self.close()

    def release(self) -> None:
        """Gives the port back."""
        self.close()
        self._reserved.close()

    async def _join(self, server: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = {writer}
        try:
            from_server, to_server = await dial(server)
            writers.add(to_server)
            self._writers.add(to_server)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, to_server))
                group.create_task(_pump(from_server, writer))
            for each in writers:
                each.close()  # what was written is still sent
        except* OSError:
            for each in writers:
                reset(each)
        finally:
            self._writers -= writers


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
