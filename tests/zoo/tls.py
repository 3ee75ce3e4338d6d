"""Species with unexpected TLS, unexpected plaintext, or certificates that a client must reject."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme

from tests.zoo.http2 import requests
from tests.zoo.sandbox import forever
from tests.zoo.species import species

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.zoo.sandbox import Sandbox

HERE = "127.0.0.1"
HANDSHAKE = r"does not complete a TLS handshake \("


async def _hang_after_preface(reader: StreamReader, writer: StreamWriter) -> None:
    async for _ in requests(reader, writer):
        await forever()


def _context(certificate: trustme.LeafCert, *, protocols: tuple[str, ...] = ("h2",)) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def _trusting(sandbox: Sandbox, ca: trustme.CA) -> tuple[str, ...]:
    """Returns the kit's options to trust `ca`."""
    path = sandbox.directory / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return "--tls-ca", str(path)


@species(r"before a gRPC connection is made", hint="does it want TLS", connect=3)
async def speaks_tls_unasked(sandbox: Sandbox) -> None:
    """Serves TLS, while the kit connects in plaintext."""
    await sandbox.listen(_hang_after_preface, tls=_context(trustme.CA().issue_cert(HERE)))


@species(HANDSHAKE, hint="whether the provider speaks TLS at all", connect=3)
async def speaks_plaintext(sandbox: Sandbox) -> None:
    """Serves plaintext, while the kit connects over TLS."""
    await sandbox.listen(_hang_after_preface, *_trusting(sandbox, trustme.CA()))


@species(HANDSHAKE + ".*(expired|CERTIFICATE_VERIFY_FAILED)", connect=3)
async def has_expired(sandbox: Sandbox) -> None:
    """Has a certificate that expired yesterday."""
    ca, yesterday = trustme.CA(), datetime.now(UTC) - timedelta(days=1)
    certificate = ca.issue_cert(HERE, not_before=yesterday - timedelta(days=30), not_after=yesterday)
    await sandbox.listen(_hang_after_preface, *_trusting(sandbox, ca), tls=_context(certificate))


@species(HANDSHAKE + ".*(not yet|CERTIFICATE_VERIFY_FAILED)", connect=3, rare=True)
async def is_not_valid_yet(sandbox: Sandbox) -> None:
    """Has a certificate that becomes valid tomorrow."""
    ca, tomorrow = trustme.CA(), datetime.now(UTC) + timedelta(days=1)
    certificate = ca.issue_cert(HERE, not_before=tomorrow, not_after=tomorrow + timedelta(days=30))
    await sandbox.listen(_hang_after_preface, *_trusting(sandbox, ca), tls=_context(certificate))


@species(HANDSHAKE + ".*(name|verif)", connect=3)
async def is_somebody_else(sandbox: Sandbox) -> None:
    """Has a certificate for another host name."""
    ca = trustme.CA()
    await sandbox.listen(_hang_after_preface, *_trusting(sandbox, ca), tls=_context(ca.issue_cert("other.example")))


@species(HANDSHAKE + ".*VERIFY_FAILED", hint="--tls-ca", connect=3)
async def is_of_another_ca(sandbox: Sandbox) -> None:
    """Has a certificate from an unknown CA."""
    await sandbox.listen(
        _hang_after_preface, *_trusting(sandbox, trustme.CA()), tls=_context(trustme.CA().issue_cert(HERE))
    )


@species(HANDSHAKE + ".*VERIFY_FAILED", connect=3, rare=True)
async def vouches_for_itself(sandbox: Sandbox) -> None:
    """Has a self-signed certificate."""
    itself, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2"])
    pair = sandbox.directory / "pair.pem"
    pair.write_bytes(itself.private_key_pem.bytes() + itself.cert_pem.bytes())
    context.load_cert_chain(pair)
    await sandbox.listen(_hang_after_preface, *_trusting(sandbox, trustme.CA()), tls=context)


@species(r"speaks TLS, but no HTTP/2 in it", connect=3)
async def knows_no_http2(sandbox: Sandbox) -> None:
    """Serves TLS without HTTP/2."""
    ca = trustme.CA()
    await sandbox.listen(_hang_after_preface, *_trusting(sandbox, ca), tls=_context(ca.issue_cert(HERE), protocols=()))


@species(r"does not complete a TLS handshake|before a gRPC connection is made", connect=3)
async def wants_a_certificate(sandbox: Sandbox) -> None:
    """Requires a client certificate, while the kit has none."""
    ca = trustme.CA()
    context = _context(ca.issue_cert(HERE))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    await sandbox.listen(_hang_after_preface, *_trusting(sandbox, ca), tls=context)
