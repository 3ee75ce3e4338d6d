"""What a client makes of answers that are none: over real sockets, from a server that sends bytes as they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.rpc.client import SERVICE, Client
from conformance.rpc.target import Target

if TYPE_CHECKING:
    from conformance.rpc.call import Call


PLAIN = grpc.Compression.NoCompression


def asked(answer: bytes, *, max_answer: int = 2**20, compression: grpc.Compression = PLAIN) -> Call:
    """How a List ends that is answered OK with these bytes."""

    class Says(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            async def says(request: bytes, context: Any) -> bytes:
                return answer

            return grpc.unary_unary_rpc_method_handler(says) if details.method == f"{SERVICE}List" else None

    async def go() -> Call:
        server = grpc.aio.server(compression=compression, options=[("grpc.max_send_message_length", -1)])
        server.add_generic_rpc_handlers((Says(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        client = Client(Target(address=f"127.0.0.1:{port}", max_answer=max_answer), rpc_timeout=20.0)
        try:
            return await client.list()
        finally:
            await client.close()
            await server.stop(0)

    return asyncio.run(go())


def test_bytes_that_are_no_message_end_a_call_in_words_and_count_as_no_answer() -> None:
    call = asked(b"\xff\xfe")
    assert (call.code, call.answered, call.response) == (grpc.StatusCode.INTERNAL, False, None)
    assert call.details == "2 bytes came that cannot be read as MachineList"


def test_an_answer_up_to_the_limit_is_taken_in() -> None:
    largest = pb.MachineList(revision=bytes(2**20 - 4)).SerializeToString()
    assert len(largest) == 2**20
    assert asked(largest).ok


@pytest.mark.parametrize("compression", [PLAIN, grpc.Compression.Gzip])
def test_an_answer_over_the_limit_is_not_taken_in_however_it_is_packed(compression: grpc.Compression) -> None:
    call = asked(pb.MachineList(revision=bytes(2**20)).SerializeToString(), compression=compression)
    assert (call.code, call.answered) == (grpc.StatusCode.RESOURCE_EXHAUSTED, False)
    assert call.details == "more came than 1 MiB (--max-answer)"
