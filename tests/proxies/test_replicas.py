"""Replicas that the kit restarts behind a balancer of the user: HAProxy, which checks only whether they accept."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conformance.frontends.cli.provider_options import free_port
from tests.proxies.proxies import BY_NAME, serving
from tests.proxies.ready import RUN_LIMIT, finished, ready, started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.proxies.configs import Setup

pytestmark = pytest.mark.timeout(RUN_LIMIT + 60)

REPLICA = f"{sys.executable} -m fake_provider serve --port {{port}} --state {{dir}} --latency 200ms"
JUDGED = {"ROL-4a", "ROL-4b", "ROL-4c", "ROL-5a", "ROL-5b"}


def balancer(setup: Setup) -> str:
    """Returns haproxy.cfg: each new connection goes to the next replica."""
    servers = [f"server r{number} {each} check" for number, each in enumerate(setup.upstream.split(","))]
    return "\n".join(
        (
            "defaults",
            "  mode tcp",
            "  timeout connect 1s",
            "  timeout client 60s",
            "  timeout server 60s",
            "  default-server inter 200ms fall 1 rise 1 on-marked-down shutdown-sessions",
            "  option redispatch 1",
            "listen provider",
            f"  bind 127.0.0.1:{setup.port}",
            *(f"  {server}" for server in servers),
            "",
        )
    )


def test_replicas_behind_a_balancer_of_the_user_are_judged(tmp_path: Path) -> None:
    proxy = replace(BY_NAME["haproxy"], config=balancer)
    path = ready(proxy)
    ports = [str(free_port()) for _ in range(3)]
    upstream = ",".join(f"127.0.0.1:{port}" for port in ports)
    with serving(proxy, path, upstream, tmp_path / "proxy") as proxied:
        options = ("--replica-cmd", REPLICA, "--replica-ports", ",".join(ports), "--select", "ROL-4,ROL-5")
        done = finished(
            started(proxied, tmp_path / "report", "--lane", "rollout", *options, "--failover-within", "30s"),
            tmp_path / "report",
        )
    assert done.report, done.err
    assert done.report["verdict"] == "conformant", done.problems()
    assert {behaviour for behaviour, status in done.statuses().items() if status == "passed"} >= JUDGED, done.problems()
    assert done.code == 0
