"""Connections to a target: the one that all behaviours share, and private ones for behaviours that were interrupted.

A server may close each connection after a number of requests and drop the calls that are under way (Hypercorn does so
after 1,000). Thirty behaviours on one connection reach that number together. A behaviour that was interrupted is judged
again on a connection of its own, which is replaced before it becomes old.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core import background
from conformance.rpc.decoding import deserializer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.rpc.target import Target

SERVICE: Final = "/bigfleet.v1alpha1.CapacityProvider/"

_RESPONSES: Final = {
    "Create": pb.TransitionAck,
    "Configure": pb.TransitionAck,
    "Drain": pb.TransitionAck,
    "Delete": pb.TransitionAck,
    "Get": pb.Machine,
    "List": pb.MachineList,
}

CALLS_PER_PRIVATE_CONNECTION: Final = 60
"""After this many calls a private connection is replaced, at the next moment when no call is under way on it."""


class Connection:
    """A channel to a target, and the six methods over it."""

    def __init__(self, target: Target, *, suffix: bytes) -> None:
        self.target, self.suffix = target, suffix
        self.channel = target.channel()
        self.calls = 0
        """The number of calls that were sent over it."""
        self.under_way = 0
        self._retired = False
        self.methods = {name: self.method(SERVICE + name, answer) for name, answer in _RESPONSES.items()}

    def method(self, path: str, answer: Any) -> Callable[..., Any]:
        """Returns a function that calls the method at `path`, `/package.Service/Method`."""
        return self.channel.unary_unary(
            path,
            request_serializer=lambda request: request.SerializeToString() + self.suffix,
            response_deserializer=deserializer(answer, limit=self.target.max_answer),
        )

    @contextmanager
    def call_under_way(self) -> Iterator[None]:
        """Counts one call while the body makes it."""
        self.calls += 1
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self._close_if_unused()

    def retire(self) -> None:
        """Closes the channel as soon as no call is under way on it."""
        self._retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._retired and not self.under_way:
            background.start(self.channel.close())


class PrivateConnection:
    """The connection of one interrupted behaviour: opened with its first call, and replaced before it becomes old."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._closed = False

    def current(self, shared: Connection) -> Connection:
        """Returns a connection to the same target as `shared`, or `shared` itself once the behaviour is over."""
        if self._closed:
            return shared
        old = self._connection
        aged = old is not None and old.calls >= CALLS_PER_PRIVATE_CONNECTION and not old.under_way
        if old is None or aged:
            self._retire()
            self._connection = old = Connection(shared.target, suffix=shared.suffix)
        return old

    def close(self) -> None:
        """Closes the connection once no call is under way on it. A task that outlives the behaviour opens no other."""
        self._closed = True
        self._retire()

    def _retire(self) -> None:
        if self._connection is not None:
            self._connection.retire()
            self._connection = None


_private: ContextVar[PrivateConnection | None] = ContextVar("conformance_private_connection", default=None)


def connection_of_task(shared: Connection) -> Connection:
    """Returns the connection for the calls of the current task: `shared`, unless it has a private one."""
    private = _private.get()
    return shared if private is None else private.current(shared)


@contextmanager
def private_connection() -> Iterator[None]:
    """Makes the calls of the body over a connection of its own, also those of tasks that the body starts."""
    private = PrivateConnection()
    reset = _private.set(private)
    try:
        yield
    finally:
        _private.reset(reset)
        private.close()
