"""A provider whose answers are changed on their way out: real gRPC, and anything in it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc

from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.server import Clockwork
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from google.protobuf.message import Message

SERVICE = "/bigfleet.v1alpha1.CapacityProvider/"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garble:
    """What is done to the answers of `rpc` (all, where it is empty), to every `every`-th one."""

    rpc: str
    every: int = 1
    raw: bytes | None = None
    """These bytes instead."""
    cut: int | None = None
    """Only so many bytes."""
    flip: tuple[int, int] | None = None
    """A byte of it, counted around, with these bits turned."""
    refuse: tuple[grpc.StatusCode, str] | None = None
    """A status instead."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """These fields of the answer, and of every machine in it, have these values."""
    copies: int = 1
    """Each machine of a List so many times."""

    def of(self, answer: Message) -> bytes:
        """What goes out instead of this answer."""
        for message in machines_in(answer):
            _set(message, self.fields)
        _set(answer, self.fields)
        if isinstance(answer, pb.MachineList) and self.copies != 1:
            again = list(answer.machines) * self.copies
            del answer.machines[:]
            answer.machines.extend(again)
        data = bytearray(answer.SerializeToString() if self.raw is None else self.raw)
        if self.flip is not None and data:
            data[self.flip[0] % len(data)] ^= self.flip[1]
        return bytes(data if self.cut is None else data[: self.cut])


def machines_in(answer: Message) -> Sequence[pb.Machine]:
    """The machines that an answer tells of."""
    match answer:
        case pb.Machine():
            return [answer]
        case pb.TransitionAck():
            return [answer.machine]
        case pb.MachineList():
            return list(answer.machines)
        case _:
            return []


def _set(message: Message, fields: Mapping[str, Any]) -> None:
    for name in fields.keys() & message.DESCRIPTOR.fields_by_name.keys():
        match value := fields[name]:
            case dict():
                message.ClearField(name)
                getattr(message, name).update(value)
            case pb.HostRef() | pb.Resources():
                getattr(message, name).CopyFrom(value)
            case _:
                setattr(message, name, value)


class Garbler(grpc.GenericRpcHandler):
    """Answers what the servicer does, but for the garbles; health and reflection are there where one is for them."""

    def __init__(self, servicer: Servicer, garbles: Sequence[Garble]) -> None:
        self._handlers: dict[str, Any] = {}
        self._garbles = garbles
        self._counts: dict[int, int] = {}
        self.done = 0
        """How many answers were changed."""
        provider_pb2_grpc.add_CapacityProviderServicer_to_server(servicer, self)  # type: ignore[no-untyped-call]

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """What the generated code calls first; the handlers come once more, by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """What the generated code calls then."""
        self._handlers = {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a path; None is UNIMPLEMENTED."""
        path = handler_call_details.method
        name = path.removeprefix(SERVICE)
        if path == REFLECTION:
            return grpc.stream_stream_rpc_method_handler(self._stream) if self._turn("Reflection", look=True) else None
        if path == HEALTH:
            return grpc.unary_unary_rpc_method_handler(self._health) if self._turn("Health", look=True) else None
        handler = self._handlers.get(path)
        if handler is None:
            return None

        async def answer(request: Any, context: Any) -> bytes:
            garble = self._turn(name)
            if garble is not None and garble.refuse is not None:
                await context.abort(*garble.refuse)
            told = await handler.unary_unary(request, context)
            if garble is None:
                return bytes(handler.response_serializer(told))
            copy = type(told)()
            copy.CopyFrom(told)
            return garble.of(copy)

        return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=handler.request_deserializer)

    def _turn(self, name: str, *, look: bool = False) -> Garble | None:
        for number, garble in enumerate(self._garbles):
            if garble.rpc == name or (not garble.rpc and name not in ("Health", "Reflection")):
                if look:
                    return garble
                self._counts[number] = self._counts.get(number, 0) + 1
                if self._counts[number] % garble.every == 0:
                    self.done += 1
                    return garble
        return None

    async def _health(self, request: bytes, context: Any) -> bytes:
        garble = self._turn("Health")
        if garble is None:
            return b""
        if garble.refuse is not None:
            await context.abort(*garble.refuse)
        return garble.raw or b""

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            garble = self._turn("Reflection")
            if garble is not None and garble.refuse is not None:
                await context.abort(*garble.refuse)
            yield garble.raw or b"" if garble is not None else b""


@asynccontextmanager
async def garbling(garbles: Sequence[Garble], *, machines: int = 8) -> AsyncIterator[tuple[str, Garbler]]:
    """A fake provider with these garbles, served while the context lasts: its address, and what garbles."""
    core = Core(fleet(machines), latency=Latency.every(0.005))
    loop = asyncio.get_running_loop()
    clockwork = Clockwork(core, loop.time)
    garbler = Garbler(Servicer(core, clock=loop.time, rpc_delay=0.0, on_change=clockwork.wake), garbles)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((garbler,))
    port = server.add_insecure_port("127.0.0.1:0")
    core.resume(loop.time())
    await server.start()
    running = asyncio.create_task(clockwork.run())
    try:
        yield f"127.0.0.1:{port}", garbler
    finally:
        await server.stop(0)
        running.cancel()
        await asyncio.wait([running])
