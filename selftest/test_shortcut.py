"""The shortcut answers as the socket does: the same calls, over either, end the same."""

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
    """Fails inside for one id, and sleeps for another."""

    async def Get(self, request: pb.MachineRef, context: Any) -> pb.Machine:  # noqa: N802
        if request.id == "fails":
            raise KeyError(request.id)
        if request.id == "sleeps":
            await asyncio.sleep(60)
        if request.id == "peer":
            return pb.Machine(id=context.peer())
        return await super().Get(request, context)


def over(ask: Callable[[Client], Awaitable[Call]], *, short: bool) -> Call:
    async def go() -> Call:
        made: list[Servicer] = []

        def build(core: Core, **given: Any) -> Servicer:
            made.append(Odd(core, **given))
            return made[-1]

        async with serving(Core(fleet(2), latency=Latency.parse("0")), servicer=build) as address:
            client = Client(in_process_target(made[0], address) if short else Target(address=address))
            try:
                return await ask(client)
            finally:
                await client.close()

    return asyncio.run(go())


async def twice(client: Client) -> Call:
    token = Shard("s").next()
    await client.create(MACHINE, token)
    return await client.create(MACHINE, token)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get(MACHINE),
        lambda client: client.list(cap=1),
        lambda client: client.get("nobody"),
        lambda client: client.get("fails"),
        lambda client: client.call_path("/bigfleet.v1alpha1.CapacityProvider/Nothing", pb.MachineRef(), pb.Machine),
        twice,
    ],
    ids=["ok", "list", "not found", "fails inside", "no such method", "fenced"],
)
def test_a_call_ends_the_same_over_either(ask: Callable[[Client], Awaitable[Call]]) -> None:
    by_socket, by_shortcut = over(ask, short=False), over(ask, short=True)
    assert by_shortcut.code is by_socket.code
    assert by_shortcut.answered == by_socket.answered
    assert by_shortcut.details == by_socket.details
    assert (by_shortcut.response is None) == (by_socket.response is None)


@pytest.mark.parametrize("short", [False, True], ids=["socket", "shortcut"])
def test_time_that_is_up_is_no_answer(short: bool) -> None:
    async def ask(client: Client) -> Call:
        return await client.call("Get", pb.MachineRef(id="sleeps"), timeout=0.05)

    call = over(ask, short=short)
    assert (call.code, call.answered) == (grpc.StatusCode.DEADLINE_EXCEEDED, False)


@pytest.mark.parametrize("short", [False, True], ids=["socket", "shortcut"])
def test_who_hangs_up_has_no_answer_and_goes_on(short: bool) -> None:
    async def ask(client: Client) -> Call:
        call = asyncio.ensure_future(client.get("sleeps"))
        await asyncio.sleep(0.05)
        await client.disconnect()
        return await call

    call = over(ask, short=short)
    assert (call.code, call.answered) == (grpc.StatusCode.CANCELLED, False)


@pytest.mark.parametrize("short", [False, True], ids=["socket", "shortcut"])
def test_every_connection_is_another_peer(short: bool) -> None:
    async def ask(client: Client) -> Call:
        first = await client.get("peer")
        async with client.another() as other:
            second = await other.get("peer")
        assert first.response.id == (await client.get("peer")).response.id != second.response.id
        return second

    assert over(ask, short=short).ok
