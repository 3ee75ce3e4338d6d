"""An in-process transport: calls the six RPCs of a provider in this process without a socket.

A run of the whole suite makes about seven thousand calls, and gRPC takes five times as long for each as the provider.
So the kill matrix and dry runs pass these calls to the servicer as bytes. Everything else still uses TCP: health,
reflection, unknown methods, and broken connections.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2_grpc

from conformance.rpc.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PEERS = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcessTarget(Target):
    """A target whose RPCs are answered by `handlers`, as long as clients connect to `served_address`."""

    handlers: Mapping[str, Any] = field(repr=False)
    served_address: str
    wrap_channel: Callable[[grpc.aio.Channel], Any] = field(default=lambda channel: channel, repr=False)
    """Wraps the TCP channel, which is used for all methods without a handler."""

    def channel(self) -> grpc.aio.Channel:
        """Returns a channel to the servicer; a TCP channel if a proxy is in between, which has another address."""
        tcp: grpc.aio.Channel = self.wrap_channel(Target.channel(self))
        if self.dial_address != self.served_address:
            return tcp
        return cast("grpc.aio.Channel", _Channel(tcp, self.handlers))


def in_process_target(
    servicer: Any, address: str, *, wrap_channel: Callable[[grpc.aio.Channel], Any] = lambda channel: channel
) -> InProcessTarget:
    """Returns the target that reaches `servicer`, which is also served at `address`, without a socket."""
    methods = _Methods()
    provider_pb2_grpc.add_CapacityProviderServicer_to_server(servicer, methods)  # type: ignore[no-untyped-call]
    return InProcessTarget(
        address=address, served_address=address, handlers=methods.handlers, wrap_channel=wrap_channel
    )


class _Methods:
    """A stand-in for the server in gRPC's generated code: it only collects the handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Ignores the same handlers in another form."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})


class _Aborted(Exception):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


class _Context:
    """The part of a servicer context that servicers use."""

    def __init__(self, peer: str, deadline: float) -> None:
        self._peer = peer
        self._deadline = deadline

    def peer(self) -> str:
        return self._peer

    def time_remaining(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    async def abort(self, code: grpc.StatusCode, details: str = "") -> None:
        raise _Aborted(code, details)


class _Channel:
    """A channel to the servicer; methods without a handler use the `tcp` channel."""

    def __init__(self, tcp: grpc.aio.Channel, handlers: Mapping[str, Any]) -> None:
        self._tcp = tcp
        self._handlers = handlers
        self._peer = f"in-process:{next(_PEERS)}"
        self._calls: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tcp, name)

    async def channel_ready(self) -> None:
        """Returns immediately: there is no connection to establish."""
        await asyncio.sleep(0)

    def get_state(self) -> grpc.ChannelConnectivity:
        """Returns READY until the channel is closed: there is no connection that could break."""
        return grpc.ChannelConnectivity.SHUTDOWN if self._closed else grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        """Closes the channel. Calls that are under way are cancelled, on both sides."""
        self._closed = True
        for task in self._calls:
            task.cancel()
        await self._tcp.close()

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes] = bytes,
        response_deserializer: Callable[[bytes], Any] = bytes,
    ) -> Callable[..., Any]:
        """Returns a function that calls the method at `path`."""
        handler = self._handlers.get(path)
        if handler is None:
            tcp: Callable[..., Any] = self._tcp.unary_unary(path, request_serializer, response_deserializer)
            return tcp

        async def call(request: Any, *, timeout: float, metadata: Any = None) -> Any:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            self._calls.add(task)
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.sleep(0)  # lets other tasks run, as a socket would
                    context = _Context(self._peer, loop.time() + timeout)
                    return response_deserializer(await _handle(handler, request_serializer(request), context))
            except TimeoutError:
                code, details = grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"
            except _Aborted as aborted:
                code, details = aborted.code, aborted.details
            except asyncio.CancelledError:
                if self._closed:
                    task.uncancel()  # only the call was cancelled, not its caller
                raise
            finally:
                self._calls.discard(task)
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)

        return call


async def _handle(handler: Any, data: bytes, context: _Context) -> bytes:
    try:
        request = handler.request_deserializer(data)
    except Exception as error:
        raise _Aborted(grpc.StatusCode.INTERNAL, "Exception deserializing request!") from error
    try:
        answer: bytes = handler.response_serializer(await handler.unary_unary(request, context))
    except _Aborted:
        raise
    except Exception as error:
        raise _Aborted(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}") from error
    return answer
