"""The kit's pass-through proxy in front of a provider that accepts no connection."""

from __future__ import annotations

import asyncio
import time

import pytest

from conformance.core.errors import NotObserved
from conformance.rpc.client import MANY_CONNECTIONS
from conformance.rpc.proxy import proxy
from conformance.rpc.target import Target
from tests.runs import connected
from tests.targets.test_bad_targets import free_port


def test_a_connection_that_the_provider_does_not_accept_ends_at_once_and_the_wait_for_it_at_its_deadline() -> None:
    async def go() -> tuple[float, float]:
        async with (
            proxy(Target(address=f"127.0.0.1:{free_port()}")) as relay,
            connected(relay.target, rpc_timeout=2.0) as client,
        ):
            started = time.monotonic()
            assert not (await client.get("m")).answered
            refused = time.monotonic()
            with pytest.raises(NotObserved, match=f"not established within 2 s: {MANY_CONNECTIONS}"):
                await client.wait_until_connected()
            return refused - started, time.monotonic() - refused

    call, wait = asyncio.run(go())
    assert call < 1.9
    assert 1.9 < wait < 10.0
