"""HAProxy says that a call was not processed (REFUSED_STREAM) even if the provider processed it and was lost then."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.fencing import Token
from conformance.rpc.call import CallLog, recording
from conformance.rpc.client import REFUSED_STREAM
from conformance.rpc.proxy import proxy
from conformance.rpc.target import Target
from tests.provider_process import serving as providing
from tests.proxies.proxies import BY_NAME, serving
from tests.proxies.ready import ready
from tests.runs import connected

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.rpc.call import Call
    from conformance.rpc.proxy import Proxy

FENCED, UNAVAILABLE = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("stale", [False, True], ids=["fresh-token", "stale-token"])
def test_a_call_that_was_executed_and_then_refused_has_no_answer(stale: bool, tmp_path: Path) -> None:
    """A fresh token that is fenced when it is sent again was accepted before: the kit must not blame the fence."""
    haproxy, log = BY_NAME["haproxy"], CallLog()
    path = ready(haproxy)
    with providing() as provider:
        machine = next(iter(provider.machines()))

        def wait_until_executed() -> None:
            while not stale and provider.machines()[machine].state == pb.MACHINE_STATE_SPECULATIVE:
                time.sleep(0.02)
            time.sleep(0.2)

        async def create_through(relay: Proxy, address: str) -> Call:
            async with connected(address, rpc_timeout=20.0) as client:
                await client.list(cap=1)
                if stale:
                    await client.drain(machine, Token("s", 2, 1))
                relay.pause_responses()
                with recording(log):
                    pending = asyncio.ensure_future(client.create(machine, Token("s", 1, 1)))
                    await asyncio.to_thread(wait_until_executed)
                    relay.resume_responses()
                    relay.cut()
                    return await pending

        async def go() -> Call:
            async with proxy(Target(address=provider.address)) as relay:
                with serving(haproxy, path, relay.target.dial_address, tmp_path / "proxy") as proxied:
                    return await create_through(relay, proxied.address)

        call = asyncio.run(go())
    assert log.calls[0].details.startswith(REFUSED_STREAM), str(log.calls[0])
    assert log.calls[-1].fenced, str(log.calls[-1])
    assert (call.answered, call.code) == (stale, FENCED if stale else UNAVAILABLE)
