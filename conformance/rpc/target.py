"""Where the provider is and how it is dialled: `host:port` -> a channel with its credentials."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from conformance.core.errors import UsageError
from conformance.rpc.decoding import DEFAULT_MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

_HOST_PORT: Final = re.compile(
    r"^(?:dns:///)?(?P<host>\[[0-9a-fA-F:.]+(?:%[0-9a-zA-Z_.-]+)?\]|[^\s/:\[\]]+):(?P<port>[0-9]{1,5})$"
)

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    # What is retried, and with which token, is the kit's own business.
    ("grpc.enable_retries", 0),
    # Another channel is another connection, also to the same address (OPS-4).
    ("grpc.use_local_subchannel_pool", 1),
    # A provider that is still starting is found soon after it is there. How long one attempt may take is left to gRPC:
    # its minimum is a backoff's too, and a TLS handshake with a far cloud takes its time.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The files of a TLS connection: the CA that signed the provider, and our own pair where it asks for one."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    server_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A provider's endpoint. `headers` go with every call and are never shown."""

    address: str
    tls: Tls | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    max_answer: int = DEFAULT_MAX_ANSWER_BYTES
    """Bytes of the largest answer that is taken in. The List of a fleet is one answer (LST-2), however large."""
    proxy_address: str | None = None
    """What is dialled instead of the address, where something of ours lies before the provider."""

    @property
    def dial_address(self) -> str:
        """What a connection is made to."""
        return self.proxy_address or self.address

    def behind(self, address: str) -> Self:
        """The same target behind another address; its certificate and its name are still its own."""
        return replace(self, proxy_address=address)

    def channel(self) -> grpc.aio.Channel:
        """Open a new connection to the provider. Dials lazily: nothing is sent yet."""
        host_port = self.address.removeprefix("dns:///")
        options: tuple[tuple[str, str | int], ...] = (
            *_CHANNEL_OPTIONS,
            ("grpc.max_receive_message_length", self.max_answer),
        )
        if self.tls is None:
            named = self.proxy_address and not self.address.startswith("unix:")
            authority = (("grpc.default_authority", host_port),) if named else ()
            return grpc.aio.insecure_channel(self.dial_address, options=(*options, *authority))
        credentials = grpc.ssl_channel_credentials(self.tls.ca, self.tls.key, self.tls.cert)
        override = self.tls.server_name or (host_port.rpartition(":")[0].strip("[]") if self.proxy_address else None)
        names = (("grpc.ssl_target_name_override", override),) if override else ()
        return grpc.aio.secure_channel(self.dial_address, credentials, options=(*options, *names))


def parse_address(text: str) -> str:
    """`host:port`, `[v6]:port` or `unix:/path`, as gRPC wants it.

    Raises UsageError for any other form, and says what is wrong with it.
    """
    address = text.strip()
    if not address.isprintable():
        raise UsageError(
            f"target {text!r} holds what no address has", hint="write host:port, [ipv6]:port or unix:/path"
        )
    if address.startswith("unix:"):
        if not address.removeprefix("unix:").strip("/"):
            raise UsageError(f"target {text!r} names no socket", hint="write unix:/path/to/socket")
        return address
    if re.match(r"^https?://", address):
        bare = re.sub(r"^https?://", "", address).rstrip("/")
        raise UsageError(f"target {text!r} is a URL", hint=f"a gRPC target is host:port: try {bare}")
    match = _HOST_PORT.match(address)
    if match is None:
        raise UsageError(f"target {text!r} is not an address", hint="write host:port, [ipv6]:port or unix:/path")
    if not 0 < int(match["port"]) < 65536:
        raise UsageError(f"target {text!r} has port {match['port']}", hint="ports go from 1 to 65535")
    return address


def parse_header(text: str) -> tuple[str, str]:
    """`key=value` -> a header of every call. Raises UsageError; the value is never repeated in it."""
    key, equals, value = text.partition("=")
    key = key.strip().lower()
    if not equals or not re.fullmatch(r"[0-9a-z_.-]+", key):
        # Nothing of it is repeated: what is no key may well be a part of the value.
        raise UsageError(
            "a --header is not key=value",
            hint="write --header authorization='Bearer …'; keys are letters, digits, '-', '_' and '.'",
        )
    if key.startswith("grpc-") or key.endswith("-bin"):
        raise UsageError(f"header {key!r} cannot be set", hint="grpc-* is gRPC's own and *-bin is binary")
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"header {key!r} has a value that is not printable ASCII", hint="encode it first")
    return key, value


def load_tls(*, ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None) -> Tls | None:
    """The TLS settings, or None where no option asks for TLS: plaintext is never a fall-back.

    Raises UsageError for a file that cannot be read, is not PEM, or for half a pair.
    """
    if ca is None and cert is None and key is None:
        if server_name is not None:
            raise UsageError("--server-name without TLS", hint="add --tls-ca FILE")
        return None
    if (cert is None) != (key is None):
        given, missing = ("--tls-cert", "--tls-key") if key is None else ("--tls-key", "--tls-cert")
        raise UsageError(f"{given} without {missing}", hint="a client certificate is a pair: give both or neither")
    tls = Tls(
        ca=_pem(ca, "--tls-ca", "CERTIFICATE"),
        cert=_pem(cert, "--tls-cert", "CERTIFICATE"),
        key=_pem(key, "--tls-key", "PRIVATE KEY"),
        server_name=server_name,
    )
    _check_pair(cert, key)
    return tls


def _pem(path: Path | None, option: str, kind: str) -> bytes | None:
    if path is None:
        return None
    # Where a key lies is nobody's business, who may read a log of ours.
    shown = option if kind == "PRIVATE KEY" else f"{option} {path}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}", hint="give a readable PEM file") from error
    if not re.search(rb"-----BEGIN [A-Z0-9 ]*" + kind.encode() + rb"-----", content):
        raise UsageError(f"{shown} holds no {kind}", hint="give a PEM file")
    return content


def _check_pair(cert: Path | None, key: Path | None) -> None:
    """A key of another certificate would only show as a failed handshake: find it now."""
    if cert is None or key is None:
        return
    import ssl

    try:
        ssl.create_default_context().load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise UsageError(
            f"--tls-cert {cert} and --tls-key are no pair ({why})",
            hint="give the unencrypted key that belongs to the certificate",
        ) from error
