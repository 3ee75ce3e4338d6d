from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from conformance.core.errors import TargetError
from conformance.fleet.probe import connect, probe
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fence import Scope
from fake_provider.fleet import fleet
from fake_provider.machine import CapacityType
from fake_provider.server import serving
from tests.runs import connected, provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conformance.results.target_info import TargetInfo


def found(core: Core | None = None, *, rpc_timeout: float = 5.0, **serve: Any) -> TargetInfo:
    async def go() -> TargetInfo:
        async with (
            serving(core or provider(3), **serve) as address,
            connected(address, rpc_timeout=rpc_timeout) as client,
        ):
            return await probe(client, run="cpc-test")

    return asyncio.run(go())


def test_the_probe_finds_all_capabilities() -> None:
    seen = found(Core(fleet(3, idle=1, capacity_types=[CapacityType.SPOT])))
    assert seen.fleet == {"IDLE": 1, "SPECULATIVE": 2}
    assert (seen.delete, seen.revisions, seen.fence_scope) == (True, True, "shard-machine")
    assert (seen.health, seen.reflection, seen.tls, seen.client_certificate) == ("SERVING", True, False, False)
    assert (seen.speculative, seen.idle) == (("machine-0002", "machine-0003"), ("machine-0001",))
    assert seen.spot
    assert seen.zones


def test_a_provider_may_lack_nearly_everything() -> None:
    core = Core(fleet(2, capacity_types=[CapacityType.ON_DEMAND]), deletes=False, revisions=False)
    seen = found(core, health=False, reflection=False)
    assert (seen.delete, seen.revisions, seen.health, seen.reflection, seen.spot) == (False, False, None, False, False)


@pytest.mark.parametrize("scope", Scope)
def test_a_mark_per_machine_is_distinguished_from_one_per_shard(scope: Scope) -> None:
    assert found(provider(3, scope=scope)).fence_scope == scope.value


class BusyForUnknownIds(Core):
    """Answers UNAVAILABLE for an unknown id, so that its answers do not show whether the fence has accepted a call."""

    def find(self, machine_id):  # type: ignore[no-untyped-def]
        if machine_id not in self.machines:
            raise Rejected(Code.UNAVAILABLE, "try again")
        return super().find(machine_id)


def test_rejections_for_load_show_no_scope() -> None:
    assert found(provider(3, cls=BusyForUnknownIds, scope=Scope.SHARD)).fence_scope is None


class NoFence(Core):
    """Accepts every token."""

    def passes(self, verb, token, mark):  # type: ignore[no-untyped-def]
        return True


def test_a_fence_that_fits_no_scope_is_unclear() -> None:
    seen = found(provider(3, cls=NoFence))
    assert seen.fence_scope is None
    assert "fence scope unclear" in "\n".join(seen.lines())


def test_the_probe_touches_no_machine() -> None:
    core = provider(3)
    before = dict(core.machines)
    found(core)
    assert dict(core.machines) == before


class ListsOneTwice(Core):
    """Lists one machine twice, and one without an id."""

    def cap(self, machines, limit):  # type: ignore[no-untyped-def]
        first, *rest = machines
        return [first, first, *rest]


def test_a_machine_that_is_listed_twice_is_not_used() -> None:
    seen = found(provider(3, cls=ListsOneTwice))
    assert seen.fleet == {"SPECULATIVE": 4}
    assert seen.speculative == ("machine-0002", "machine-0003")


def test_the_capabilities_are_shown_in_a_few_lines() -> None:
    assert found().lines()[0] == "fleet      3 SPECULATIVE"
    assert found(Core([])).lines()[0] == "fleet      no machines"


# Targets that are not providers.


@contextlib.asynccontextmanager
async def bare_server() -> AsyncIterator[str]:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def test_a_grpc_server_that_is_not_a_provider_is_an_error() -> None:
    async def go() -> str:
        async with bare_server() as address, connected(address) as client:
            with pytest.raises(TargetError) as caught:
                await probe(client, run="cpc-test")
            return str(caught.value)

    assert "does not serve bigfleet.v1alpha1.CapacityProvider; is this the provider's port?" in asyncio.run(go())


class RejectsList(Core):
    """Rejects every List."""

    code = Code.PERMISSION_DENIED

    def validate_filter(self, wanted):  # type: ignore[no-untyped-def]
        raise Rejected(self.code, "who are you?")


class FailsList(RejectsList):
    """Fails at every List."""

    code = Code.INTERNAL


def test_a_provider_that_denies_access_needs_credentials() -> None:
    with pytest.raises(TargetError, match=r"denies access: .*who are you\?; give credentials with --header"):
        found(provider(3, cls=RejectsList))


def test_a_provider_that_does_not_list_cannot_be_judged() -> None:
    with pytest.raises(TargetError, match=r"does not answer List: INTERNAL: who are you\?"):
        found(provider(3, cls=FailsList))


def test_a_slow_list_is_an_error_with_the_option_that_sets_a_longer_limit() -> None:
    with pytest.raises(TargetError, match=r"does not answer List within 0.05 s; --rpc-timeout sets a longer limit"):
        found(rpc_timeout=0.05, rpc_delay=0.5)


# Connecting.


def connection(address: str, *, timeout: float = 0.3) -> str:
    async def go() -> str:
        async with connected(address) as client:
            with pytest.raises(TargetError) as caught:
                await connect(client, timeout=timeout)
            return str(caught.value)

    started = time.monotonic()
    message = asyncio.run(go())
    assert time.monotonic() - started < 10.0
    return message


def test_an_address_without_a_server_refuses_connections() -> None:
    async def free() -> str:
        async with bare_server() as address:
            return address

    address = asyncio.run(free())
    assert f"target {address} refuses connections; is the provider running" in connection(address)


def test_an_unknown_name_cannot_be_resolved() -> None:
    assert "cannot be resolved" in connection("no-such-host.invalid:9000")


def test_a_server_that_does_not_speak_grpc_is_distinguished_from_a_missing_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        message = connection(f"127.0.0.1:{mute.getsockname()[1]}")
    assert "refuses" not in message
    assert "is it a gRPC server, " in message


def test_connect_returns_if_the_provider_answers() -> None:
    async def go() -> None:
        async with serving(provider(1)) as address, connected(address) as client:
            await connect(client, timeout=5.0)

    asyncio.run(go())
