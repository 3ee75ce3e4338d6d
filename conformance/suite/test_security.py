"""SEC: which clients and TLS versions the provider accepts (contract §11). Skipped without TLS.

No machine is changed: each behaviour connects to the target in a way that must be refused and, as its control, in the
way that works. `stranger.crt` and its key are a self-signed pair that no CA has signed; the key protects nothing.
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
from conformance.rpc.backoff import RETRY_DELAYS, retry_while_overloaded
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from conformance.rpc.call import Call
    from conformance.rpc.target import Tls
    from conformance.testkit.trial import Trial

SHARD_URI = b"bigfleet://shard/"
CONNECT_TIMEOUT_SECONDS = 5.0
"""Maximum seconds for a connection that must be refused: a provider may refuse by not answering."""


async def list_with(trial: Trial, tls: Tls | None) -> Call:
    """Sends a List over a new connection with these TLS settings; without the user's headers if it is not encrypted."""
    target = trial.client.target
    target = replace(target, tls=tls, headers=target.headers if tls else ())
    async with trial.client.another(target=target) as client:
        return await client.call("List", pb.ListFilter(max_results=1), timeout=CONNECT_TIMEOUT_SECONDS)


def tls_of_run(trial: Trial) -> Tls:
    """Returns the TLS settings of the run. Raises Unsupported if it does not use TLS."""
    tls = trial.client.target.tls
    if tls is None:
        raise Unsupported("the target is not reached over TLS")
    return tls


def self_signed(name: str) -> bytes:
    """Returns a file of the self-signed pair: the certificate or its key."""
    return (resources.files("conformance.suite") / name).read_bytes()


async def check_refused(trial: Trial, tls: Tls | None, how: str) -> None:
    """Checks that List is not answered OK for these TLS settings, while it is for the settings of the run.

    A provider may refuse a client before, during or after the handshake: a proxy in front of it answers HTTP 400, and a
    provider that checks the certificate itself answers UNAUTHENTICATED or PERMISSION_DENIED.
    """
    # A call that is rejected for load says nothing about the client.
    call = await retry_while_overloaded(lambda: list_with(trial, tls), insists=True, delays=RETRY_DELAYS)
    expect.fact(not call.answered_ok, wanted=f"a client {how} to be refused", got=f"List answered {call.outcome()}")
    control = await expect.answered(list_with(trial, tls_of_run(trial)))
    if not control.ok:
        raise NotObserved(
            f"the control failed: with the TLS settings of the run, List answered {control.outcome()}, so the refusal "
            "proves nothing"
        )


async def handshake(trial: Trial, highest: ssl.TLSVersion) -> str | None:
    """Returns the TLS version that is negotiated if the client offers none above `highest`; None if refused.

    Raises NotObserved if this computer's own TLS library does not support such an old version.
    """
    target = trial.client.target
    if target.address.startswith("unix:"):
        raise Unsupported("TLS versions are not checked over a unix socket")
    host, _, port = target.address.removeprefix("dns:///").rpartition(":")
    tls = tls_of_run(trial)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only the version is checked
    context.set_alpn_protocols(["h2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are used on purpose
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
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            name = tls.server_name or host.strip("[]")
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context, server_hostname=name)
    except ssl.SSLError as error:
        if "NO_PROTOCOLS_AVAILABLE" in str(error) or (error.reason == "UNSUPPORTED_PROTOCOL" and not error.args):
            raise NotObserved(f"this computer's TLS library does not support {highest.name}") from error
        return None
    except (OSError, TimeoutError):
        return None
    version: str | None = writer.get_extra_info("ssl_object").version()
    writer.transport.abort()  # a clean shutdown would wait for the provider
    return version


async def check_version_refused(trial: Trial, highest: ssl.TLSVersion, wanted: str) -> None:
    """Checks that a client that offers no version above `highest` is refused, while one that offers 1.3 too is not."""
    version = await handshake(trial, highest)
    expect.fact(version is None, wanted=f"{wanted} to be refused", got=f"a handshake with {version}")
    if await handshake(trial, ssl.TLSVersion.TLSv1_3) is None:
        raise NotObserved(
            "the control failed: a TLS 1.3 handshake did not succeed either, so the refusal proves nothing"
        )


def named_shard(certificate: bytes) -> str | None:
    """Returns the shard that a PEM certificate names by URI SAN; None if it does not name one."""
    der = ssl.PEM_cert_to_DER_cert(certificate.decode("ascii"))
    start = der.find(SHARD_URI)
    # The byte before a short string in DER is its length.
    return der[start : start + der[start - 1]].removeprefix(SHARD_URI).decode("ascii") if start > 0 else None


@behaviour("SEC-1a")
async def test_plaintext_is_refused(trial: Trial) -> None:
    await check_refused(trial, None, "without TLS")


@behaviour("SEC-1b")
async def test_a_client_without_a_certificate_is_refused(trial: Trial) -> None:
    await check_refused(trial, replace(tls_of_run(trial), cert=None, key=None), "without a certificate")


@behaviour("SEC-1c")
async def test_a_client_with_a_certificate_of_another_ca_is_refused(trial: Trial) -> None:
    tls = replace(tls_of_run(trial), cert=self_signed("stranger.crt"), key=self_signed("stranger.key"))
    await check_refused(trial, tls, "with a certificate of another CA")


@behaviour("SEC-1d")
async def test_tls_below_1_2_is_refused(trial: Trial) -> None:
    await check_version_refused(trial, ssl.TLSVersion.TLSv1_1, "TLS 1.1 and below")


@behaviour("SEC-1e")
async def test_tls_below_1_3_is_refused(trial: Trial) -> None:
    await check_version_refused(trial, ssl.TLSVersion.TLSv1_2, "TLS 1.2 and below")


@behaviour("SEC-2a")
async def test_a_certificate_binds_its_shard(trial: Trial) -> None:
    certificate = tls_of_run(trial).cert
    if certificate is None or named_shard(certificate) is None:
        raise Unsupported("the certificate of --tls-cert does not name a shard")
    call = await trial.stranger().drain()
    bound = call.status is grpc.StatusCode.PERMISSION_DENIED
    expect.fact(bound, wanted="PERMISSION_DENIED for another shard's token", got=call.outcome(), calls=[call])
