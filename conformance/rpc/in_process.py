"""A way to a provider in this process without a socket, for what is asked most: the six RPCs.

The whole suite makes some seven thousand calls, and gRPC's share of each is five times the provider's. So where every
mutant meets every behaviour, and in a dry run, calls are handed to the servicer as bytes, and everything else goes over
TCP as ever: health, reflection, unknown methods, connections that are cut.
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
    """A target whose RPCs are answered by `handlers`, where it is dialled under the address that it was made with."""

    handlers: Mapping[str, Any] = field(repr=False)
    served_address: str
    wrap_channel: Callable[[grpc.aio.Channel], Any] = field(default=lambda channel: channel, repr=False)
    """What is put before the connection by TCP, which all goes over that has no handler."""

    def channel(self) -> grpc.aio.Channel:
        """A connection: to the servicer, unless something is to lie between (a relay has another address)."""
        dialled: grpc.aio.Channel = self.wrap_channel(Target.channel(self))
        if self.dial_address != self.served_address:
            return dialled
        return cast("grpc.aio.Channel", _Channel(dialled, self.handlers))


def in_process_target(
    servicer: Any, address: str, *, wrap_channel: Callable[[grpc.aio.Channel], Any] = lambda channel: channel
) -> InProcessTarget:
    """The target that `servicer`, served at `address`, is reached at without a socket."""
    methods = _Methods()
    provider_pb2_grpc.add_CapacityProviderServicer_to_server(servicer, methods)  # type: ignore[no-untyped-call]
    return InProcessTarget(
        address=address, served_address=address, handlers=methods.handlers, wrap_channel=wrap_channel
    )


class _Methods:
    """What gRPC's generated code takes for a server: it only remembers the handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The same handlers in a form that nobody here needs."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})


class _Aborted(Exception):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


class _Context:
    """What a servicer may ask of a call."""

    def __init__(self, peer: str, ends: float) -> None:
        self._peer = peer
        self._ends = ends

    def peer(self) -> str:
        return self._peer

    def time_remaining(self) -> float:
        return self._ends - asyncio.get_running_loop().time()

    async def abort(self, code: grpc.StatusCode, details: str = "") -> None:
        raise _Aborted(code, details)


class _Channel:
    """A channel to the servicer; what has no handler goes through the `dialled` one."""

    def __init__(self, dialled: grpc.aio.Channel, handlers: Mapping[str, Any]) -> None:
        self._dialled = dialled
        self._handlers = handlers
        self._peer = f"shortcut:{next(_PEERS)}"
        self._calling: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dialled, name)

    async def channel_ready(self) -> None:
        """At once, as there is no line."""
        await asyncio.sleep(0)

    def get_state(self) -> grpc.ChannelConnectivity:
        """READY until it is closed: there is no line that could break."""
        return grpc.ChannelConnectivity.SHUTDOWN if self._closed else grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        """Hang up: what is under way is cancelled, on both sides."""
        self._closed = True
        for task in self._calling:
            task.cancel()
        await self._dialled.close()

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes] = bytes,
        response_deserializer: Callable[[bytes], Any] = bytes,
    ) -> Callable[..., Any]:
        """The method of that path."""
        handler = self._handlers.get(path)
        if handler is None:
            dialled: Callable[..., Any] = self._dialled.unary_unary(path, request_serializer, response_deserializer)
            return dialled

        async def call(request: Any, *, timeout: float, metadata: Any = None) -> Any:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            self._calling.add(task)
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.sleep(0)  # as a socket would, let others in between
                    context = _Context(self._peer, loop.time() + timeout)
                    return response_deserializer(await _handle(handler, request_serializer(request), context))
            except TimeoutError:
                code, details = grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"
            except _Aborted as aborted:
                code, details = aborted.code, aborted.details
            except asyncio.CancelledError:
                if self._closed:
                    task.uncancel()  # the call was cancelled, not who made it
                raise
            finally:
                self._calling.discard(task)
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
