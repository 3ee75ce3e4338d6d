"""The provider that tests kill and restart in this process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc

from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.store import MemoryStore, SqliteStore, Store
from selftest.restartable import RestartableProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fake_provider.store import Snapshot

CREATE = pb.CreateRequest(machine_id="machine-0001")


def core(store: Store) -> Core:
    return Core(fleet(4), store=store)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[RestartableProvider]:
    provider = RestartableProvider(**{"core": core} | options)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


@asynccontextmanager
async def stub_of(provider: RestartableProvider) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(provider.address) as channel:
        yield provider_pb2_grpc.CapacityProviderStub(channel)  # type: ignore[no-untyped-call]


async def create(provider: RestartableProvider) -> pb.TransitionAck:
    async with stub_of(provider) as stub:
        ack: pb.TransitionAck = await stub.Create(CREATE)
        return ack


async def code_of(provider: RestartableProvider, rpc: str, request: Any) -> grpc.StatusCode:
    async with stub_of(provider) as stub:
        try:
            await getattr(stub, rpc)(request)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@pytest.mark.parametrize("orderly", [False, True])
@pytest.mark.parametrize("sqlite", [False, True])
def test_a_restart_at_the_same_address_has_what_was_saved(tmp_path: Path, *, orderly: bool, sqlite: bool) -> None:
    async def run() -> None:
        store = {"store": lambda: SqliteStore(tmp_path / "state.db")} if sqlite else {}
        async with running(**store) as provider:
            for _ in range(3):
                address, ack = provider.address, await create(provider)
                await (provider.stop() if orderly else provider.kill())
                assert await code_of(provider, "Create", CREATE) is grpc.StatusCode.UNAVAILABLE
                await provider.start()
                assert provider.address == address
                assert await create(provider) == ack

    asyncio.run(run())


def test_it_runs_from_a_start_to_a_kill_or_stop() -> None:
    async def run() -> list[bool]:
        async with running() as provider:
            seen = [provider.running]
            for change in (provider.stop, provider.start, provider.kill, provider.kill, provider.start):
                await change()
                seen.append(provider.running)
            return seen

    assert asyncio.run(run()) == [True, False, True, False, False, True]


def test_a_kill_breaks_a_running_call_which_changes_nothing() -> None:
    async def run() -> None:
        async with running(rpc_delay=3600.0) as provider:
            call = asyncio.create_task(code_of(provider, "Create", CREATE))
            await asyncio.sleep(0.1)
            assert not call.done()
            await provider.kill()
            assert await call is grpc.StatusCode.UNAVAILABLE
        async with running() as provider:
            assert (await create(provider)).machine.state == pb.MACHINE_STATE_IDLE

    asyncio.run(run())


def test_an_orderly_stop_answers_a_running_call() -> None:
    async def run() -> None:
        async with running(rpc_delay=0.5) as provider:
            call = asyncio.create_task(code_of(provider, "Create", CREATE))
            await asyncio.sleep(0.1)
            assert not call.done()
            await provider.stop()
            assert await call is grpc.StatusCode.OK

    asyncio.run(run())


class _Late(Store):
    """A store that writes only what it is closed with."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.buffer: list[Snapshot] = []

    def load(self) -> Snapshot | None:
        return self.store.load()

    def save(self, change: Snapshot) -> None:
        self.buffer.append(change)

    def close(self) -> None:
        for change in self.buffer:
            self.store.save(change)
        self.store.close()


@pytest.mark.parametrize("orderly", [False, True])
def test_a_buffer_of_the_core_survives_an_orderly_stop_and_no_kill(*, orderly: bool) -> None:
    async def run() -> None:
        async with running(core=lambda store: Core(fleet(4), store=_Late(store))) as provider:
            await create(provider)
            await (provider.stop() if orderly else provider.kill())
            await provider.start()
            async with stub_of(provider) as stub:
                machine = await stub.Get(pb.MachineRef(id=CREATE.machine_id))
            assert machine.state == (pb.MACHINE_STATE_IDLE if orderly else pb.MACHINE_STATE_SPECULATIVE)

    asyncio.run(run())


def test_a_killed_core_saves_nothing_more() -> None:
    memory = MemoryStore()

    async def run() -> None:
        async with running(
            core=lambda store: Core(fleet(4), store=store, latency=Latency.every(60)), store=lambda: memory
        ) as provider:
            await create(provider)
            dead = provider.core
            assert dead
            await provider.kill()
            saved = memory.load()
            with pytest.raises(OSError, match="killed"):
                dead.advance(2**40)
            assert memory.load() == saved

    asyncio.run(run())
