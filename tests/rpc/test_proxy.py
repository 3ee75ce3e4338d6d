"""The kit's pass-through proxy in front of a provider that accepts no connection."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings

import pytest

from conformance.core.errors import NotObserved
from conformance.rpc.client import MANY_CONNECTIONS
from conformance.rpc.proxy import accepting, proxy
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


def test_no_accepted_connection_outlives_the_listener_whether_or_not_its_handler_has_begun() -> None:
    async def go(wait_for_handler: bool) -> bytes:
        begun = asyncio.Event()

        async def dial_for_ever(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            begun.set()
            await asyncio.Event().wait()
            writer.close()

        async with accepting(dial_for_ever) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if wait_for_handler:
                await begun.wait()
        try:
            return await reader.read()
        except ConnectionResetError:
            return b"reset"
        finally:
            writer.close()

    for wait_for_handler in (True, False):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert asyncio.run(asyncio.wait_for(go(wait_for_handler), 5)) in (b"reset", b"")
            gc.collect()
        assert [str(warning.message) for warning in caught] == []
