"""A client and responses that are not messages: over real sockets, from a server that sends given bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.rpc.client import SERVICE, Client
from conformance.rpc.decoding import MAX_METADATA_BYTES
from conformance.rpc.target import Target
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from tests.runs import connected, provider

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.rpc.call import Call


PLAIN = grpc.Compression.NoCompression


def list_answered_with(answer: bytes, *, max_answer: int = 2**20, compression: grpc.Compression = PLAIN) -> Call:
    """Returns a List that the server answers OK with these bytes."""

    class FixedAnswer(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            async def respond(request: bytes, context: Any) -> bytes:
                return answer

            return grpc.unary_unary_rpc_method_handler(respond) if details.method == f"{SERVICE}List" else None

    async def call_once() -> Call:
        server = grpc.aio.server(compression=compression, options=[("grpc.max_send_message_length", -1)])
        server.add_generic_rpc_handlers((FixedAnswer(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        client = Client(Target(address=f"127.0.0.1:{port}", max_answer=max_answer), rpc_timeout=20.0)
        try:
            return await client.list()
        finally:
            await client.close()
            await server.stop(0)

    return asyncio.run(call_once())


def test_bytes_that_are_not_a_message_are_explained_and_count_as_no_answer() -> None:
    call = list_answered_with(b"\xff\xfe")
    assert (call.code, call.answered, call.response) == (grpc.StatusCode.INTERNAL, False, None)
    assert call.details == "the response (2 bytes) cannot be read as MachineList"


def test_a_response_up_to_the_limit_is_accepted() -> None:
    largest = pb.MachineList(revision=bytes(2**20 - 4)).SerializeToString()
    assert len(largest) == 2**20
    assert list_answered_with(largest).ok


@pytest.mark.parametrize("compression", [PLAIN, grpc.Compression.Gzip])
def test_a_response_over_the_limit_is_rejected_even_if_compressed(compression: grpc.Compression) -> None:
    call = list_answered_with(pb.MachineList(revision=bytes(2**20)).SerializeToString(), compression=compression)
    assert (call.code, call.answered) == (grpc.StatusCode.RESOURCE_EXHAUSTED, False)
    assert call.details == "the response is larger than 1 MiB (--max-answer)"


@pytest.mark.parametrize(
    ("text", "answered"), [("no healthy upstream", False), ("the cloud answered: no healthy upstream", True)]
)
def test_the_answer_of_a_proxy_without_a_provider_is_not_an_answer(text: str, answered: bool) -> None:
    """Envoy sends UNAVAILABLE with this text over a live connection, and nothing came from the provider."""

    class Unhealthy(Servicer):
        async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
            return await context.abort(grpc.StatusCode.UNAVAILABLE, text)

    async def go() -> Call:
        async with serving(provider(1), servicer=Unhealthy) as address, connected(address) as client:
            return await client.call("List", pb.ListFilter())

    call = asyncio.run(go())
    assert (call.answered, call.answered_busy, call.cut_off) == (answered, answered, not answered)


@pytest.mark.parametrize("character", ["x", "漢"], ids=["ascii", "percent-encoded"])
def test_a_long_error_text_is_received_in_full(character: str) -> None:
    """The characters that are not ASCII take nine bytes each in the header that carries the text."""

    class Verbose(Servicer):
        async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
            return await context.abort(grpc.StatusCode.NOT_FOUND, text)

    text = " ".join([character * 4096] * 3)

    async def go() -> list[Call]:
        async with serving(provider(1), servicer=Verbose) as address, connected(address) as client:
            # Above gRPC's soft limit, but below its hard one, an answer is lost at random.
            return [await client.call("Get", pb.MachineRef(id="m")) for _ in range(5)]

    for call in asyncio.run(go()):
        assert (call.code, call.answered) == (grpc.StatusCode.NOT_FOUND, True)
        assert call.details == text


def test_an_error_text_over_the_limit_of_the_kit_is_not_an_answer() -> None:
    class Verbose(Servicer):
        async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
            return await context.abort(grpc.StatusCode.NOT_FOUND, "x" * (2 * MAX_METADATA_BYTES))

    async def go() -> Call:
        async with serving(provider(1), servicer=Verbose) as address, connected(address) as client:
            return await client.call("Get", pb.MachineRef(id="m"))

    call = asyncio.run(go())
    assert not call.answered
    assert call.details == "the error text or the headers of the response are larger than 4 MiB"
