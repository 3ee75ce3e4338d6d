"""Runs with a dead proxy in the environment: on this computer it is not used, and elsewhere the kit names it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from conformance.rpc.env_proxy import PROXY_VARIABLES
from conformance.rpc.target import Target
from fake_provider import server
from tests.provider_process import run, serving
from tests.runs import connected, provider
from tests.targets.test_bad_targets import free_port

if TYPE_CHECKING:
    from pathlib import Path

SELECT = ("--select", "FEN-1a,WIR-3a,WIR-3b")
FAULTS = ("--fault", "delay=1ms..2ms")


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, f"http://user:s3cret@127.0.0.1:{free_port()}")


@pytest.mark.usefixtures("dead_proxy")
def test_the_embedded_fake_is_judged_without_the_proxy(tmp_path: Path) -> None:
    done = run("conformance-run", "--fake", *SELECT, state=tmp_path)
    assert done.code == 0, done.text


@pytest.mark.usefixtures("dead_proxy")
def test_a_loopback_target_behind_the_kits_own_proxies_is_judged_without_the_proxy(tmp_path: Path) -> None:
    with serving() as provider:
        target = f"localhost:{provider.port}"
        done = run("conformance-run", "--target", target, *SELECT, *FAULTS, state=tmp_path)
    assert done.code == 0, done.text


@pytest.mark.usefixtures("dead_proxy")
def test_another_target_is_reached_through_the_proxy_which_the_error_names(tmp_path: Path) -> None:
    limits = ("--connect-timeout", "1s", "--rpc-timeout", "1s")
    done = run("conformance-run", "--target", "provider.invalid:9000", *SELECT, *limits, state=tmp_path)
    assert done.code == 3
    error, hint = done.err.splitlines()[:2]
    assert error.startswith("error: target provider.invalid:9000 cannot be reached through the proxy of grpc_proxy (")
    assert hint.startswith("  hint: to connect without the proxy, start the kit with env -u grpc_proxy -u https_proxy ")
    assert "s3cret" not in done.text


@pytest.mark.usefixtures("dead_proxy")
def test_a_proxy_of_the_kit_is_reached_without_the_proxy_wherever_the_target_is() -> None:
    async def go() -> str:
        async with server.serving(provider(1)) as own_proxy:
            target = Target(address="provider.invalid:9000").behind(own_proxy)
            async with connected(target, rpc_timeout=2.0) as client:
                return (await client.list()).outcome()

    assert asyncio.run(go()).startswith("OK 1 machine")
