"""A target that cannot be judged is one line: what it is, and what mends it; and it costs nobody's time."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import grpc
import pytest
import trustme

from tests.provider_process import run, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.provider_process import Done

TIMEOUTS = ("--connect-timeout", "1s", "--rpc-timeout", "1s")
GREETING = b"220 mail.example ESMTP\r\n"


def judged(address: str, directory: Path, *options: str) -> tuple[Done, str, str]:
    """How a run at the address ended: its error's line and its mend."""
    began = time.monotonic()
    done = run("conformance-run", "--target", address, "--report-dir", str(directory), *TIMEOUTS, *options)
    assert time.monotonic() - began < 12, "the kit takes a second or two to start, and a second for each timeout"
    assert done.code == 3, done.text
    assert "Traceback" not in done.text
    lines = done.err.splitlines()
    assert len(lines) == 2, done.err
    assert lines[0].startswith(f"error: target {address} "), done.err
    assert lines[1].startswith("  hint: "), done.err
    assert "INCONCLUSIVE" in done.verdict
    assert (directory / "junit.xml").stat().st_size
    assert not (directory / "ledger.ndjson").exists()
    return done, lines[0], lines[1]


@contextmanager
def listening(greet: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does with every connection what `greet` does, and no more."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    greet(connection)
                except OSError:
                    return
                kept.append(connection)

        kept: list[socket.socket] = []
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for connection in kept:
                connection.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_nobody_is_there(tmp_path: Path) -> None:
    _, what, mend = judged(f"127.0.0.1:{free_port()}", tmp_path)
    assert what.endswith("refuses connections")
    assert "is the provider running" in mend


def test_somebody_accepts_and_never_speaks(tmp_path: Path) -> None:
    with listening(lambda connection: None) as address:
        _, what, mend = judged(address, tmp_path)
    assert "accepts connections but says nothing that is gRPC within 1 s" in what
    assert "--tls-ca" in mend


def test_somebody_accepts_and_closes(tmp_path: Path) -> None:
    with listening(lambda connection: connection.close()) as address:
        _, what, mend = judged(address, tmp_path)
    assert "hangs up before a gRPC connection is made" in what
    assert "is it a gRPC server" in mend


def test_somebody_speaks_another_language(tmp_path: Path) -> None:
    with listening(lambda connection: connection.sendall(GREETING)) as address:
        _, what, mend = judged(address, tmp_path)
    assert "answers, but not in gRPC" in what
    assert "is it a gRPC server" in mend


def test_a_web_server(tmp_path: Path) -> None:
    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        _, what, mend = judged(f"127.0.0.1:{server.server_port}", tmp_path)
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
    assert "answers, but not in gRPC" in what
    assert "is it a gRPC server" in mend


def test_a_grpc_server_of_something_else(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        _, what, mend = judged(f"127.0.0.1:{port}", tmp_path)
    finally:
        server.stop(None).wait(10)
    assert what.endswith("does not serve bigfleet.v1alpha1.CapacityProvider")
    assert "the provider's port" in mend


def test_a_provider_whose_list_does_not_come(tmp_path: Path) -> None:
    with serving("--rpc-delay", "600s") as provider:
        began = time.monotonic()
        _, what, mend = judged(provider.address, tmp_path)
        assert time.monotonic() - began < 4
    assert what.endswith("does not answer List within 1 s")
    assert "--rpc-timeout" in mend


def test_a_host_name_that_nobody_knows(tmp_path: Path) -> None:
    _, what, mend = judged("no-such-host.invalid:9000", tmp_path)
    assert "cannot be resolved" in what
    assert "host name" in mend


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a CA, a server's pair from it, and another CA."""
    directory = tmp_path_factory.mktemp("tls")
    ca, other = trustme.CA(), trustme.CA()
    pair = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    other.cert_pem.write_to_path(str(directory / "other.pem"))
    pair.private_key_pem.write_to_path(str(directory / "key.pem"))
    for part in pair.cert_chain_pems:
        part.write_to_path(str(directory / "cert.pem"), append=True)
    return directory


def test_tls_where_plaintext_is_spoken(tls: Path, tmp_path: Path) -> None:
    with serving() as provider:
        _, what, mend = judged(provider.address, tmp_path, "--tls-ca", str(tls / "ca.pem"))
    assert "TLS handshake" in what
    assert "whether the provider speaks TLS at all" in mend


def test_plaintext_where_tls_is_spoken(tls: Path, tmp_path: Path) -> None:
    with serving("--tls-cert", str(tls / "cert.pem"), "--tls-key", str(tls / "key.pem")) as provider:
        _, _, mend = judged(provider.address, tmp_path)
    assert "does it want TLS (--tls-ca)" in mend


def test_a_certificate_of_another_ca(tls: Path, tmp_path: Path) -> None:
    with serving("--tls-cert", str(tls / "cert.pem"), "--tls-key", str(tls / "key.pem")) as provider:
        _, what, mend = judged(provider.address, tmp_path, "--tls-ca", str(tls / "other.pem"))
    assert "TLS handshake" in what
    assert "--tls-ca" in mend


def test_a_sweep_of_a_target_that_is_not_there(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    ledger = tmp_path / "ledger.ndjson"
    ledger.write_text(
        f'{{"ledger": 1, "run": "cpc-dead", "target": "{address}"}}\n'
        '{"intend": "Create", "machine": "a", "home": "SPECULATIVE", "shard": "cpc-dead-m1", "epoch": 1}\n',
        encoding="utf-8",
    )
    before = ledger.read_text(encoding="utf-8")
    done = run("conformance", "sweep", str(ledger), "--target", address, *TIMEOUTS)
    assert done.code == 3
    assert done.err.splitlines()[0] == f"error: target {address} refuses connections"
    assert ledger.read_text(encoding="utf-8").startswith(before)
