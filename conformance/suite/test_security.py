"""SEC: who may speak to the provider, and how (contract §11). Runs where the target is reached over TLS.

No machine is touched: each behaviour dials the same address in a way that must not work, and as its control in the
way that does. `stranger.crt` and its key are a self-signed pair that nobody trusts; they protect nothing.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import warnings
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import NotObserved, Unsupported
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from conformance.rpc.call import Call
    from conformance.rpc.target import Tls
    from conformance.testkit.trial import Trial

SHARD_URI = b"bigfleet://shard/"
DIAL_TIMEOUT = 5.0
"""Seconds for a dial that must not work: a provider may refuse by saying nothing."""


async def dial(trial: Trial, tls: Tls | None) -> Call:
    """List over a new connection with these TLS settings; without the user's headers where nothing hides them."""
    target = trial.client.target
    target = replace(target, tls=tls, headers=target.headers if tls else ())
    async with trial.client.another(target=target) as client:
        return await client.call("List", pb.ListFilter(max_results=1), timeout=DIAL_TIMEOUT)


def settings(trial: Trial) -> Tls:
    """The TLS settings that work. Raises Unsupported where there are none."""
    tls = trial.client.target.tls
    if tls is None:
        raise Unsupported("the target is not reached over TLS")
    return tls


def stranger(name: str) -> bytes:
    """Half of a pair that no CA of anybody's has signed."""
    return (resources.files("conformance.suite") / name).read_bytes()


async def refused(trial: Trial, tls: Tls | None, how: str) -> None:
    """A client that dials so gets no answer; one that dials as the run does is served: only that differed."""
    call = await dial(trial, tls)
    expect.fact(not call.answered, wanted=f"a client {how} to be refused", got=f"List answered {call.outcome()}")
    await expect.acked(dial(trial, settings(trial)))


async def handshake(trial: Trial, highest: ssl.TLSVersion) -> str | None:
    """The TLS version agreed on by a client that speaks none above `highest`; None where the provider refuses.

    Raises NotObserved where this machine's own TLS library cannot speak so low a version.
    """
    target = trial.client.target
    if target.address.startswith("unix:"):
        raise Unsupported("a unix socket has no host to shake hands with")
    host, _, port = target.address.removeprefix("dns:///").rpartition(":")
    tls = settings(trial)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the version is what is looked at
    context.set_alpn_protocols(["h2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that these versions are old is the point
        context.minimum_version = min(highest, ssl.TLSVersion.TLSv1_2)
        context.maximum_version = highest
    context.set_ciphers("ALL:@SECLEVEL=0")
    if tls.cert is not None and tls.key is not None:
        with tempfile.TemporaryDirectory() as directory:
            pair = Path(directory) / "pair.pem"
            pair.touch(mode=0o600)
            pair.write_bytes(tls.cert + b"\n" + tls.key)
            context.load_cert_chain(pair)
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            name = tls.server_name or host.strip("[]")
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context, server_hostname=name)
    except ssl.SSLError as error:
        if "NO_PROTOCOLS_AVAILABLE" in str(error) or (error.reason == "UNSUPPORTED_PROTOCOL" and not error.args):
            raise NotObserved(f"this machine's TLS library cannot speak {highest.name}") from error
        return None
    except (OSError, TimeoutError):
        return None
    version: str | None = writer.get_extra_info("ssl_object").version()
    writer.transport.abort()  # a shutdown would wait for a provider that has nothing to say
    return version


async def below(trial: Trial, highest: ssl.TLSVersion, wanted: str) -> None:
    """A client that speaks nothing above `highest` is refused; one that speaks 1.3 too is not."""
    version = await handshake(trial, highest)
    expect.fact(version is None, wanted=f"{wanted} to be refused", got=f"a handshake with {version}")
    if await handshake(trial, ssl.TLSVersion.TLSv1_3) is None:
        raise NotObserved("no handshake of ours succeeds, whatever its version: the refusal says nothing")


def named_shard(certificate: bytes) -> str | None:
    """The shard that a PEM certificate names by URI SAN; None where it names none."""
    der = ssl.PEM_cert_to_DER_cert(certificate.decode("ascii"))
    start = der.find(SHARD_URI)
    # The byte before a short string in DER is its length.
    return der[start : start + der[start - 1]].removeprefix(SHARD_URI).decode("ascii") if start > 0 else None


@behaviour("SEC-1a")
async def test_plaintext_is_refused(trial: Trial) -> None:
    await refused(trial, None, "without TLS")


@behaviour("SEC-1b")
async def test_a_client_without_a_certificate_is_refused(trial: Trial) -> None:
    await refused(trial, replace(settings(trial), cert=None, key=None), "without a certificate")


@behaviour("SEC-1c")
async def test_a_client_with_a_certificate_of_another_ca_is_refused(trial: Trial) -> None:
    tls = replace(settings(trial), cert=stranger("stranger.crt"), key=stranger("stranger.key"))
    await refused(trial, tls, "with a certificate of another CA")


@behaviour("SEC-1d")
async def test_tls_below_1_2_is_refused(trial: Trial) -> None:
    await below(trial, ssl.TLSVersion.TLSv1_1, "TLS 1.1 and below")


@behaviour("SEC-1e")
async def test_tls_below_1_3_is_refused(trial: Trial) -> None:
    await below(trial, ssl.TLSVersion.TLSv1_2, "TLS 1.2 and below")


@behaviour("SEC-2a")
async def test_a_certificate_binds_its_shard(trial: Trial) -> None:
    certificate = settings(trial).cert
    if certificate is None or named_shard(certificate) is None:
        raise Unsupported("our certificate names no shard")
    call = await trial.stranger().drain()
    bound = call.code is grpc.StatusCode.PERMISSION_DENIED
    expect.fact(bound, wanted="PERMISSION_DENIED for another shard's token", got=call.outcome(), calls=[call])
