"""The SEC behaviours with real TLS: a conformant provider, and providers that each break one clause.

gRPC's own server cannot use TLS below 1.2, cannot require 1.3 and cannot serve plaintext and TLS on one port. A small
relay in front of the fake provider does all of that with the TLS of the standard library.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import tempfile
import threading
import warnings
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core import catalogue
from conformance.core.catalogue import Level
from conformance.core.errors import Undecided, Violation
from conformance.engine import run as engine_run
from conformance.engine.options import Options, Timeouts
from conformance.frontends import collection
from conformance.results.result import Status
from conformance.rpc.call import Call
from conformance.rpc.target import Target, Tls
from conformance.suite import test_security
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """The configuration of the relay in front of the provider; each value that is not the default is a defect."""

    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    plaintext: bool = False
    asks_for_certificate: bool = True
    trusts_strangers: bool = False
    connections: int | None = None
    """The number of connections that it accepts in total; None for no limit."""
    denial: bytes = b""
    """If not empty: the relay completes the handshake with any client, and answers clients without a certificate of
    its CA with these HTTP/2 headers, like nginx with `ssl_verify_client on` (HPACK)."""


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def pair(name: str) -> trustme.LeafCert:
    return authority().issue_cert(name)


def stranger() -> bytes:
    return (resources.files("conformance.suite") / "stranger.crt").read_bytes()


def server_context(relay: Relay) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = relay.lowest
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    pair("localhost").configure_cert(context)
    if relay.asks_for_certificate:
        context.verify_mode = ssl.CERT_OPTIONAL if relay.denial else ssl.CERT_REQUIRED
        authority().configure_trust(context)
        if relay.trusts_strangers or relay.denial:
            context.load_verify_locations(cadata=stranger().decode())
    return context


def pass_on(one: socket.socket, other: socket.socket) -> None:
    """Forwards data in both directions until one side closes the connection."""
    while True:
        buffered = [side for side in (one, other) if isinstance(side, ssl.SSLSocket) and side.pending()]
        for side in buffered or select.select([one, other], [], [])[0]:
            side.settimeout(0.02)  # a TLS record may contain no data, and recv would wait for the next one
            try:
                data = side.recv(65536)
            except TimeoutError:
                continue
            if not data:
                return
            sink = other if side is one else one
            sink.settimeout(10)
            sink.sendall(data)


def grpc_status(code: grpc.StatusCode) -> bytes:
    """Returns the HPACK block of a gRPC response that consists of this status."""

    def literal(name: bytes, value: bytes) -> bytes:
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    status = str(code.value[0]).encode()
    return b"\x88" + literal(b"content-type", b"application/grpc") + literal(b"grpc-status", status)


HTTP_400 = b"\x8c"
"""The HPACK block of `:status: 400`."""


def deny(connection: ssl.SSLSocket, block: bytes) -> None:
    """Answers every HTTP/2 request on a connection with the same headers, until the client closes it."""

    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    with connection.makefile("rb") as received:
        received.read(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
        connection.sendall(frame(4, 0, 0))  # SETTINGS
        while head := received.read(9):
            received.read(int.from_bytes(head[:3], "big"))
            kind, stream = head[3], int.from_bytes(head[5:], "big")
            if kind == 4 and not head[4]:
                connection.sendall(frame(4, 1, 0))  # SETTINGS, acknowledged
            elif kind == 1:
                connection.sendall(frame(1, 5, stream, block))  # HEADERS, the last frame of the stream


def is_known(connection: ssl.SSLSocket) -> bool:
    """Returns whether the client has shown a certificate of the relay's own CA."""
    certificate = connection.getpeercert(binary_form=True)
    return certificate not in (None, ssl.PEM_cert_to_DER_cert(stranger().decode()))


@contextmanager
def relayed(relay: Relay, backend: str) -> Iterator[str]:
    """Runs a relay with this configuration in front of the backend; yields its address."""
    host, _, port = backend.rpartition(":")
    context = server_context(relay)

    def serve(outer: socket.socket) -> None:
        with suppress(OSError), outer, socket.create_connection((host, int(port))) as inner:
            # HTTP/2 without TLS begins with "PRI".
            plain = relay.plaintext and outer.recv(1, socket.MSG_PEEK) == b"P"
            with outer if plain else context.wrap_socket(outer, server_side=True) as connection:
                if relay.denial and isinstance(connection, ssl.SSLSocket) and not is_known(connection):
                    deny(connection, relay.denial)
                    return
                pass_on(connection, inner)

    def accept() -> None:
        with suppress(OSError):
            for number in count(1):
                outer = listener.accept()[0]
                if relay.connections is None or number <= relay.connections:
                    threading.Thread(target=serve, args=(outer,), daemon=True).start()
                else:
                    outer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


async def judged(relay: Relay) -> dict[str, Status]:
    """Runs the SEC behaviours on a provider behind the relay; returns their statuses."""
    client = pair("shard.example")
    tls = Tls(
        ca=authority().cert_pem.bytes(),
        cert=client.cert_chain_pems[0].bytes(),
        key=client.private_key_pem.bytes(),
    )
    known = catalogue.load()
    chosen = collection.plan(known, collection.functions(), known.match(["SEC"]))
    with tempfile.TemporaryDirectory() as directory:
        async with serving(Core(fleet(4))) as backend:
            with relayed(relay, backend) as address:
                report = await engine_run.run(
                    chosen,
                    Target(address=address, tls=tls),
                    options=Options(timeouts=Timeouts(rpc=5.0, connect=5.0)),
                    ledger_at=lambda run: Path(directory) / "ledger.ndjson",
                )
    return {result.id: result.status for result in report.results if result.entry.level is not Level.MAY}


ALL_PASS = dict.fromkeys(("SEC-1a", "SEC-1b", "SEC-1c", "SEC-1d", "SEC-1e"), Status.PASSED)


def test_a_provider_with_tls_1_3_that_trusts_only_its_ca_passes() -> None:
    assert asyncio.run(judged(Relay())) == ALL_PASS


@pytest.mark.parametrize(
    "denial",
    [
        pytest.param(HTTP_400, id="http-400"),
        pytest.param(grpc_status(grpc.StatusCode.UNAUTHENTICATED), id="unauthenticated"),
        pytest.param(grpc_status(grpc.StatusCode.PERMISSION_DENIED), id="permission-denied"),
    ],
)
def test_a_client_that_is_refused_after_the_handshake_is_refused(denial: bytes) -> None:
    assert asyncio.run(judged(Relay(denial=denial))) == ALL_PASS


def a_call(rpc: str, *, code: str, answered: bool = True) -> Call:
    """Returns a call that failed with this code."""
    return Call(
        rpc=rpc,
        request=pb.ListFilter(),
        token=None,
        code=grpc.StatusCode[code],
        details="",
        response=None,
        answered=answered,
        started=0.0,
        ended=0.0,
    )


@pytest.mark.parametrize(
    "outcomes",
    [
        pytest.param(("UNAUTHENTICATED", None), id="the-control-is-not-answered"),
        pytest.param((None, None), id="nothing-is-answered"),
        pytest.param(("UNAUTHENTICATED", "UNAUTHENTICATED"), id="every-client-is-refused"),
    ],
)
def test_a_target_that_does_not_serve_the_right_certificate_has_not_refused_another(
    outcomes: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`None`: the call is not answered."""
    left = list(outcomes)

    async def list_with(trial: Any, tls: Tls | None) -> Call:
        name = left.pop(0)
        return a_call("List", code=name or "UNAVAILABLE", answered=name is not None)

    monkeypatch.setattr(test_security, "list_with", list_with)
    trial: Any = SimpleNamespace(client=SimpleNamespace(target=Target(address="host:1", tls=Tls())))
    with pytest.raises(Undecided):
        asyncio.run(test_security.check_refused(trial, None, "of a test"))
    assert not left


@pytest.mark.parametrize(
    ("relay", "found"),
    [
        pytest.param(Relay(plaintext=True), {"SEC-1a": Status.FAILED}, id="also-serves-plaintext"),
        pytest.param(
            Relay(asks_for_certificate=False),
            {"SEC-1b": Status.FAILED, "SEC-1c": Status.FAILED},
            id="does-not-ask-for-a-certificate",
        ),
        pytest.param(Relay(trusts_strangers=True), {"SEC-1c": Status.FAILED}, id="trusts-another-ca"),
        pytest.param(
            Relay(lowest=ssl.TLSVersion.TLSv1_1),
            {"SEC-1d": Status.FAILED, "SEC-1e": Status.WARNED},
            id="speaks-tls-1.1",
        ),
        pytest.param(Relay(lowest=ssl.TLSVersion.TLSv1_2), {"SEC-1e": Status.WARNED}, id="speaks-tls-1.2"),
        pytest.param(Relay(connections=1), dict.fromkeys(ALL_PASS, Status.ERROR), id="accepts-one-connection"),
    ],
)
def test_each_defect_is_found_by_its_own_behaviour(relay: Relay, found: dict[str, Status]) -> None:
    assert asyncio.run(judged(relay)) == {**ALL_PASS, **found}


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND])
def test_a_certificate_is_bound_to_its_shard_if_another_shard_is_denied(code: grpc.StatusCode) -> None:
    """Tests the behaviour with a stub: a provider that binds them rejects all shards that the kit makes up."""

    class Stranger:
        async def drain(self) -> Call:
            return a_call("Drain", code=code.name)

    client = authority().issue_cert("shard.example", common_name="bigfleet://shard/ours")
    tls = Tls(cert=client.cert_chain_pems[0].bytes())
    trial: Any = SimpleNamespace(client=SimpleNamespace(target=Target(address="host:1", tls=tls)), stranger=Stranger)
    judge: Any = test_security.test_a_certificate_binds_its_shard
    denied = code is grpc.StatusCode.PERMISSION_DENIED
    with nullcontext() if denied else pytest.raises(Violation, match="PERMISSION_DENIED"):
        asyncio.run(judge(trial))


def test_the_shard_is_read_from_the_common_name_of_a_certificate() -> None:
    from conformance.suite.test_security import named_shard

    named = authority().issue_cert("uri.example", common_name="bigfleet://shard/from-the-name")
    assert named_shard(pair("localhost").cert_chain_pems[0].bytes()) is None
    assert named_shard(named.cert_chain_pems[0].bytes()) == "from-the-name"


def test_a_token_in_a_header_is_not_sent_in_plaintext() -> None:
    dialled: list[Target] = []

    class Client:
        target = Target(address="host:1", tls=Tls(), headers=(("authorization", "Bearer s3cret"),))

        @asynccontextmanager
        async def another(self, *, target: Target) -> AsyncIterator[Client]:
            dialled.append(target)
            yield self

        async def call(self, *request: object, timeout: float) -> None:
            pass

    trial: Any = SimpleNamespace(client=Client())
    for tls in (None, Tls()):
        asyncio.run(test_security.list_with(trial, tls))
    assert [(target.tls, bool(target.headers)) for target in dialled] == [(None, False), (Tls(), True)]
