"""TLS where none is awaited, none where it is, and certificates that nobody should take."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme

from tests.zoo.cage import forever
from tests.zoo.http2 import requests
from tests.zoo.species import species

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.zoo.cage import Cage

HERE = "127.0.0.1"
HANDSHAKE = r"does not complete a TLS handshake \("


async def _greet(reader: StreamReader, writer: StreamWriter) -> None:
    async for _ in requests(reader, writer):
        await forever()


def _context(certificate: trustme.LeafCert, *, protocols: tuple[str, ...] = ("h2",)) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def _trusting(cage: Cage, ca: trustme.CA) -> tuple[str, ...]:
    """The options with which the kit trusts `ca`."""
    path = cage.directory / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return "--tls-ca", str(path)


@species(r"closes the connection before the gRPC handshake is complete", mend="does it want TLS", connect=3)
async def speaks_tls_unasked(cage: Cage) -> None:
    """Speaks TLS, and is dialled in plaintext."""
    await cage.listen(_greet, tls=_context(trustme.CA().issue_cert(HERE)))


@species(HANDSHAKE, mend="whether the provider speaks TLS at all", connect=3)
async def speaks_plaintext(cage: Cage) -> None:
    """Speaks plaintext, and is dialled over TLS."""
    await cage.listen(_greet, *_trusting(cage, trustme.CA()))


@species(HANDSHAKE + ".*(expired|CERTIFICATE_VERIFY_FAILED)", connect=3)
async def has_expired(cage: Cage) -> None:
    """Shows a certificate that was good until yesterday."""
    ca, yesterday = trustme.CA(), datetime.now(UTC) - timedelta(days=1)
    certificate = ca.issue_cert(HERE, not_before=yesterday - timedelta(days=30), not_after=yesterday)
    await cage.listen(_greet, *_trusting(cage, ca), tls=_context(certificate))


@species(HANDSHAKE + ".*(not yet|CERTIFICATE_VERIFY_FAILED)", connect=3, rare=True)
async def is_not_valid_yet(cage: Cage) -> None:
    """Shows a certificate that will be good tomorrow."""
    ca, tomorrow = trustme.CA(), datetime.now(UTC) + timedelta(days=1)
    certificate = ca.issue_cert(HERE, not_before=tomorrow, not_after=tomorrow + timedelta(days=30))
    await cage.listen(_greet, *_trusting(cage, ca), tls=_context(certificate))


@species(HANDSHAKE + ".*(name|verif)", connect=3)
async def is_somebody_else(cage: Cage) -> None:
    """Shows a certificate for another name."""
    ca = trustme.CA()
    await cage.listen(_greet, *_trusting(cage, ca), tls=_context(ca.issue_cert("other.example")))


@species(HANDSHAKE + ".*VERIFY_FAILED", mend="--tls-ca", connect=3)
async def is_of_another_ca(cage: Cage) -> None:
    """Shows a certificate from a CA that we do not know."""
    await cage.listen(_greet, *_trusting(cage, trustme.CA()), tls=_context(trustme.CA().issue_cert(HERE)))


@species(HANDSHAKE + ".*VERIFY_FAILED", connect=3, rare=True)
async def vouches_for_itself(cage: Cage) -> None:
    """Shows a certificate that it has signed itself."""
    itself, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2"])
    pair = cage.directory / "pair.pem"
    pair.write_bytes(itself.private_key_pem.bytes() + itself.cert_pem.bytes())
    context.load_cert_chain(pair)
    await cage.listen(_greet, *_trusting(cage, trustme.CA()), tls=context)


@species(r"speaks TLS, but not HTTP/2 over it", connect=3)
async def knows_no_http2(cage: Cage) -> None:
    """Speaks TLS and no HTTP/2 in it."""
    ca = trustme.CA()
    await cage.listen(_greet, *_trusting(cage, ca), tls=_context(ca.issue_cert(HERE), protocols=()))


@species(r"does not complete a TLS handshake|closes the connection before the gRPC handshake is complete", connect=3)
async def wants_a_certificate(cage: Cage) -> None:
    """Wants a client certificate, and we show none."""
    ca = trustme.CA()
    context = _context(ca.issue_cert(HERE))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    await cage.listen(_greet, *_trusting(cage, ca), tls=context)
