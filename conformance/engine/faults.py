"""Injects faults into the calls of a client for the duration of a context."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from conformance.rpc.faults.injection import FaultInjection
from conformance.rpc.faults.proxy import MIN_CHUNKS, fault_proxy
from conformance.rpc.faults.spec import FaultKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from conformance.rpc.client import Client
    from conformance.rpc.faults.spec import Fault


@asynccontextmanager
async def injected_faults(
    client: Client, faults: Sequence[Fault], *, seed: int, min_chunks: int = MIN_CHUNKS
) -> AsyncIterator[None]:
    """Injects these faults into the client's calls while the body runs; only network faults need a proxy."""
    if not faults:
        yield
        return
    network = [fault for fault in faults if fault.kind is not FaultKind.LOST_ANSWER]
    async with AsyncExitStack() as stack:
        proxy = (
            await stack.enter_async_context(fault_proxy(client.target, network, seed=seed, min_chunks=min_chunks))
            if network
            else None
        )
        await client.inject(FaultInjection(faults, proxy))
        if proxy is not None:
            proxy.start()
        yield
