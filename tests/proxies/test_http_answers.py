"""Tests the hints of the kit when a real proxy answers instead of the provider: status, meaning, option."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.provider_process import serving as providing
from tests.proxies.configs import OTHER_ROUTES
from tests.proxies.proxies import BY_NAME, serving
from tests.proxies.ready import RUN_LIMIT, finished, ready, run, started

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(RUN_LIMIT + 60)

HTTP_PROXIES = ("nginx", "haproxy", "caddy")
"""The proxies that answer a gRPC call with an HTTP status. Envoy turns its own answers into gRPC's codes."""


def test_a_request_that_is_too_large_for_nginx_fails_with_its_option(tmp_path: Path) -> None:
    """The provider's callers get UNKNOWN for a blob of 1 MiB, which WIR-5 does not allow, whoever sends it."""
    nginx = BY_NAME["nginx"]
    with (
        providing() as provider,
        serving(nginx, ready(nginx), provider.address, tmp_path / "proxy", tuned=False) as proxied,
    ):
        done = run(proxied, tmp_path / "report", "--select", "WIR-5a,WIR-5b")
    assert done.statuses() == {"WIR-5a": "failed", "WIR-5b": "passed"}, done.problems()
    for text in (done.out, done.page):
        assert "HTTP 413" in text
        assert "client_max_body_size" in text


@pytest.mark.parametrize("name", HTTP_PROXIES)
def test_a_route_that_does_not_exist_is_the_first_error(name: str, tmp_path: Path) -> None:
    path = ready(BY_NAME[name])
    with (
        providing() as provider,
        serving(BY_NAME[name], path, provider.address, tmp_path / "proxy", route=OTHER_ROUTES) as proxied,
    ):
        done = run(proxied, tmp_path / "report")
    assert done.code == 3
    assert "HTTP 404" in done.err
    assert "there is no route to the provider" in done.err


@pytest.mark.parametrize("name", [*HTTP_PROXIES, "envoy"])
def test_a_provider_that_is_down_is_the_first_error(name: str, tmp_path: Path) -> None:
    path = ready(BY_NAME[name])
    with providing() as provider:
        provider.kill()
        with serving(BY_NAME[name], path, provider.address, tmp_path / "proxy") as proxied:
            done = run(proxied, tmp_path / "report")
    assert done.code == 3
    assert "is the provider running" in done.err
    assert "proxy" in done.err


@pytest.mark.parametrize("name", [*HTTP_PROXIES, "envoy"])
def test_a_provider_that_goes_down_during_the_run_breaks_nothing(name: str, tmp_path: Path) -> None:
    """An answer of the proxy alone is not an answer of the provider, so nothing can be held against the provider."""
    path, extra = ready(BY_NAME[name]), "retries 0" if name == "haproxy" else ""
    with (
        providing("--latency", "50ms") as provider,
        serving(BY_NAME[name], path, provider.address, tmp_path / "proxy", extra=extra) as proxied,
    ):
        kit = started(proxied, tmp_path / "report", "--patience", "2s")
        while not provider.away():
            assert kit.poll() is None
            time.sleep(0.05)
        time.sleep(1.0)
        provider.kill()
        done = finished(kit, tmp_path / "report")
    assert done.report["verdict"] == "inconclusive", done.problems()
    assert done.code in (3, 4), done.out  # 4: machines are left behind
    assert "is the provider running" in done.out, done.out
    assert "is the provider running" in done.page


def test_headers_that_are_too_large_are_the_first_error(tmp_path: Path) -> None:
    caddy = BY_NAME["caddy"]
    with (
        providing() as provider,
        serving(caddy, ready(caddy), provider.address, tmp_path / "proxy", extra="max_header_size 4KiB") as proxied,
    ):
        done = run(proxied, tmp_path / "report", *(f"--header=x-{number}={'a' * 2000}" for number in range(4)))
    assert done.code == 3
    assert "HTTP 431" in done.err
    assert "max_header_size" in done.err


def test_a_host_name_that_is_not_in_the_handshake_is_the_first_error(tmp_path: Path) -> None:
    """Caddy compares the names if it requires client certificates, and a client sends none for an address."""
    caddy = BY_NAME["caddy"]
    with (
        providing() as provider,
        serving(caddy, ready(caddy), provider.address, tmp_path / "proxy", tls=True) as proxied,
    ):
        done = run(replace(proxied, options=proxied.options[:-2]), tmp_path / "report")
    assert done.code == 3
    assert "HTTP 421" in done.err
    assert "--server-name" in done.err


def test_a_missing_client_certificate_is_the_first_error(tmp_path: Path) -> None:
    nginx = BY_NAME["nginx"]
    with (
        providing() as provider,
        serving(nginx, ready(nginx), provider.address, tmp_path / "proxy", tls=True) as proxied,
    ):
        done = run(replace(proxied, options=proxied.options[:2]), tmp_path / "report")
    assert done.code == 3
    assert "HTTP 400" in done.err
    assert "--tls-cert" in done.err


def test_a_provider_that_is_too_slow_for_the_proxy_is_the_first_error(tmp_path: Path) -> None:
    nginx, limit = BY_NAME["nginx"], "grpc_read_timeout 500ms;"
    with (
        providing("--rpc-delay", "2s") as provider,
        serving(nginx, ready(nginx), provider.address, tmp_path / "proxy", extra=limit) as proxied,
    ):
        done = run(proxied, tmp_path / "report")
    assert done.code == 3
    assert "HTTP 504" in done.err
    assert "grpc_read_timeout" in done.err
