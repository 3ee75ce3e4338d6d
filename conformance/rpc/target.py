"""The target: its address, TLS files and headers, and the channels to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from conformance.core.errors import UsageError
from conformance.rpc import env_proxy
from conformance.rpc.decoding import DEFAULT_MAX_ANSWER_BYTES, MAX_METADATA_BYTES

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

_HOST_PORT: Final = re.compile(
    r"^(?:dns:///)?(?P<host>\[[0-9a-fA-F:.]+(?:%[0-9a-zA-Z_.-]+)?\]|[^\s/:\[\]]+):(?P<port>[0-9]{1,5})$"
)

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    # The kit itself decides what is retried, and with which token.
    ("grpc.enable_retries", 0),
    # Each channel has its own connection, also to the same address (OPS-4).
    ("grpc.use_local_subchannel_pool", 1),
    # Finds a provider that is still starting soon after it is up. The timeout of one attempt is left to gRPC: its
    # minimum also applies to the backoff, and a TLS handshake with a distant cloud is slow.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The TLS files: the CA of the provider's certificate, and the client certificate and key if there are any."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    server_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A provider's endpoint. `headers` are sent with every call and never shown."""

    address: str
    tls: Tls | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    max_answer: int = DEFAULT_MAX_ANSWER_BYTES
    """The maximum size of a response in bytes. A List of a whole fleet is one response (LST-2)."""
    proxy_address: str | None = None
    """The address of a proxy of the kit in front of the provider, if there is one."""
    direct: bool = False
    """True if the HTTP proxy of the environment must not be used. A target on this computer never uses it."""

    @property
    def dial_address(self) -> str:
        """The address to connect to."""
        return self.proxy_address or self.address

    @property
    def env_proxy(self) -> str | None:
        """The environment variable whose HTTP proxy the channels use; None if they use none."""
        return None if self.proxy_address or self.direct else env_proxy.proxy_variable(self.address)

    def behind(self, address: str) -> Self:
        """Returns the same target behind a proxy at `address`, still with its own certificate and name."""
        return replace(self, proxy_address=address)

    def channel(self) -> grpc.aio.Channel:
        """Opens a new channel to the provider. It connects lazily, with the first call."""
        host_port = self.address.removeprefix("dns:///")
        options: tuple[tuple[str, str | int], ...] = (
            *_CHANNEL_OPTIONS,
            ("grpc.max_receive_message_length", self.max_answer),
            *(() if self.env_proxy else env_proxy.NO_ENV_PROXY),
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
    """Returns the address in gRPC's notation: `host:port`, `[v6]:port` or `unix:/path`.

    Raises UsageError that explains the error for any other form.
    """
    address = text.strip()
    if not address.isprintable():
        raise UsageError(
            f"target {text!r} contains unprintable characters", hint="write host:port, [ipv6]:port or unix:/path"
        )
    if address.startswith("unix:"):
        if not address.removeprefix("unix:").strip("/"):
            raise UsageError(f"target {text!r} does not name a socket", hint="write unix:/path/to/socket")
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
    """`key=value` -> a header of every call. Raises UsageError, without the value in it."""
    key, equals, value = text.partition("=")
    key = key.strip().lower()
    if not equals or not re.fullmatch(r"[0-9a-z_.-]+", key):
        # The text is not repeated: it may be a part of a secret value.
        raise UsageError(
            "a --header is not key=value",
            hint="write --header authorization='Bearer …'; keys are letters, digits, '-', '_' and '.'",
        )
    if key.startswith("grpc-") or key.endswith("-bin"):
        raise UsageError(
            f"header {key!r} cannot be set", hint="grpc-* headers are reserved for gRPC, and *-bin headers are binary"
        )
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"header {key!r} has a value that is not printable ASCII", hint="encode it first")
    return key, value


def load_tls(*, ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None) -> Tls | None:
    """Returns the TLS settings, or None if no option requests TLS: plaintext is never a fallback.

    Raises UsageError for a file that cannot be read or is not PEM, and for a certificate or key alone.
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
    # The path of a private key must not appear in logs.
    shown = option if kind == "PRIVATE KEY" else f"{option} {path}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}", hint="give a readable PEM file") from error
    if not re.search(rb"-----BEGIN [A-Z0-9 ]*" + kind.encode() + rb"-----", content):
        raise UsageError(f"{shown} does not contain a {kind}", hint="give a PEM file")
    return content


def _check_pair(cert: Path | None, key: Path | None) -> None:
    """Raises UsageError if the key belongs to another certificate: later, only the handshake would fail."""
    if cert is None or key is None:
        return
    import ssl

    try:
        ssl.create_default_context().load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise UsageError(
            f"--tls-cert {cert} and --tls-key do not match ({why})",
            hint="give the unencrypted key that belongs to the certificate",
        ) from error
