"""The in-process transport behaves like a socket: the same calls have the same results."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.fencing import Shard
from conformance.rpc.client import Client
from conformance.rpc.in_process import in_process_target
from conformance.rpc.target import Target
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.server import serving
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.rpc.call import Call

MACHINE = "machine-0001"


class Odd(Servicer):
    """Raises an exception for one id, and sleeps for another."""

    async def Get(self, request: pb.MachineRef, context: Any) -> pb.Machine:  # noqa: N802
        if request.id == "fails":
            raise KeyError(request.id)
        if request.id == "sleeps":
            await asyncio.sleep(60)
        if request.id == "peer":
            return pb.Machine(id=context.peer())
        return await super().Get(request, context)


def result_of(send: Callable[[Client], Awaitable[Call]], *, in_process: bool) -> Call:
    async def run() -> Call:
        servicers: list[Servicer] = []

        def build(core: Core, **options: Any) -> Servicer:
            servicers.append(Odd(core, **options))
            return servicers[-1]

        async with serving(Core(fleet(2), latency=Latency.parse("0")), servicer=build) as address:
            client = Client(in_process_target(servicers[0], address) if in_process else Target(address=address))
            try:
                return await send(client)
            finally:
                await client.close()

    return asyncio.run(run())


async def fenced(client: Client) -> Call:
    token = Shard("s").next()
    await client.create(MACHINE, token)
    return await client.create(MACHINE, token)


@pytest.mark.parametrize(
    "send",
    [
        lambda client: client.get(MACHINE),
        lambda client: client.list(cap=1),
        lambda client: client.get("missing"),
        lambda client: client.get("fails"),
        lambda client: client.call_path("/bigfleet.v1alpha1.CapacityProvider/Nothing", pb.MachineRef(), pb.Machine),
        fenced,
    ],
    ids=["ok", "list", "not found", "fails inside", "no such method", "fenced"],
)
def test_a_call_has_the_same_result_in_process_as_over_a_socket(send: Callable[[Client], Awaitable[Call]]) -> None:
    by_socket, in_process = result_of(send, in_process=False), result_of(send, in_process=True)
    assert in_process.code is by_socket.code
    assert in_process.answered == by_socket.answered
    assert in_process.details == by_socket.details
    assert (in_process.response is None) == (by_socket.response is None)


@pytest.mark.parametrize("in_process", [False, True], ids=["socket", "in-process"])
def test_a_call_that_exceeds_its_deadline_is_not_answered(in_process: bool) -> None:
    async def send(client: Client) -> Call:
        return await client.call("Get", pb.MachineRef(id="sleeps"), timeout=0.05)

    call = result_of(send, in_process=in_process)
    assert (call.code, call.answered) == (grpc.StatusCode.DEADLINE_EXCEEDED, False)


@pytest.mark.parametrize("in_process", [False, True], ids=["socket", "in-process"])
def test_a_call_whose_connection_the_client_closes_is_not_answered(in_process: bool) -> None:
    async def send(client: Client) -> Call:
        call = asyncio.ensure_future(client.get("sleeps"))
        await asyncio.sleep(0.05)
        await client.hang_up()
        return await call

    call = result_of(send, in_process=in_process)
    assert (call.code, call.answered) == (grpc.StatusCode.CANCELLED, False)


@pytest.mark.parametrize("in_process", [False, True], ids=["socket", "in-process"])
def test_every_connection_has_its_own_peer(in_process: bool) -> None:
    async def send(client: Client) -> Call:
        first = await client.get("peer")
        async with client.another() as other:
            second = await other.get("peer")
        assert first.response.id == (await client.get("peer")).response.id != second.response.id
        return second

    assert result_of(send, in_process=in_process).ok
