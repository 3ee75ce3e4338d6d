"""Connects to the target and determines its capabilities, before the kit touches any machine."""

from __future__ import annotations

import asyncio
import math
import socket
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import TargetError
from conformance.core.fencing import Shard
from conformance.core.lifecycle import State, create_fails_by_label, state_of
from conformance.core.open_files import open_files_problem
from conformance.core.sizes import show_size
from conformance.core.text import MAX_SENT_CHARACTERS
from conformance.fleet.opening import breaches_at_start, breaches_of_refusal
from conformance.results.breach import TargetBroken
from conformance.results.redaction import Redactor
from conformance.results.target_info import SHARD, SHARD_MACHINE, TargetInfo
from conformance.rpc import http_answer
from conformance.rpc.backoff import RETRY_DELAYS, retry_while_overloaded
from conformance.rpc.client import LOST_CONNECTION_DELAYS
from conformance.rpc.decoding import too_large
from conformance.rpc.env_proxy import how_to_unset
from conformance.rpc.reflection import REFLECTION_SERVICES, lists_services, serving_status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.results.breach import Breach
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.rpc.target import Target

DIAGNOSIS = 5.0
"""Maximum seconds for a diagnosis of a failed connection; never more than the connection timeout itself."""
DOOMED = "labelled so that its Create fails"


async def connect(client: Client, *, timeout: float) -> None:
    """Waits until the target has answered on a connection.

    Raises TargetError after at most `timeout` seconds, with the reason why there is no connection.
    """
    try:
        async with asyncio.timeout(timeout):
            await client.channel.channel_ready()
    except TimeoutError:
        raise await _diagnose(client, timeout) from None


async def _diagnose(client: Client, timeout: float) -> TargetError:
    """Returns an error with the reason why there is no connection."""
    if problem := open_files_problem():
        return TargetError(f"no connection to target {client.target.address}: {problem}")
    limit = min(timeout, DIAGNOSIS)
    reasons = await asyncio.gather(*(_reason(client, target, limit) for target in await _addresses(client.target)))
    # A name may have several addresses. "Refused" is the least specific reason: an unused address family gives it too.
    reason = next((r for r in reasons if "refused" not in r.lower()), reasons[0])
    what, hint = _explain(reason, timeout)
    if variable := client.target.env_proxy:
        what = f"cannot be reached through the proxy of {variable} ({reason})"
        hint = f"{how_to_unset(client.target.address)}; if the proxy is the right way, is the provider running?"
    return TargetError(f"target {client.target.address} {what}", hint=hint)


def _explain(reason: str, timeout: float) -> tuple[str, str]:
    """Returns the meaning of gRPC's connection error, and a hint."""
    match reason.lower():
        case text if "refused" in text:
            what, hint = "refuses connections", ""
        case text if "no such file" in text:
            what, hint = "does not exist: there is no such socket", ""
        case text if "alpn" in text:
            what = f"speaks TLS, but not HTTP/2 over it ({reason})"
            hint = "is it a gRPC server, and is this the provider's port?"
        case text if any(word in text for word in ("ssl", "tls", "certificate", "handshake", "verification")):
            what = f"does not complete a TLS handshake ({reason})"
            hint = "check --tls-ca, --server-name and the client pair, and whether the provider speaks TLS at all"
        case text if "resol" in text or "dns" in text or "name" in text:
            what, hint = f"cannot be resolved ({reason})", "check the host name"
        case text if "deadline" in text or ("timed out" in text and "settings frame" in text):
            what = f"accepts connections, but sends no gRPC response within {timeout:g} s"
            hint = "is it a gRPC server, and does it require TLS (--tls-ca)?"
        case text if "settings frame" in text:
            what = f"does not speak gRPC ({reason})"
            hint = "is it a gRPC server, and is this the provider's port?"
        case _:
            what = f"closes the connection before the gRPC handshake is complete ({reason})"
            hint = "is it a gRPC server, and does it require TLS (--tls-ca) or a client certificate (--tls-cert)?"
    return what, hint or "is the provider running, and is this its address? --connect-timeout sets a longer limit"


async def _addresses(target: Target) -> Sequence[Target]:
    """Returns one target for each address that the target's name resolves to, or the target itself behind a proxy."""
    if target.env_proxy:
        return [target]  # the proxy resolves the name
    host, _, port = target.address.removeprefix("dns:///").rpartition(":")
    if target.address.startswith("unix:") or host.startswith("["):
        return [target]
    try:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(1.0):
            found = await loop.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return [target]
    tls = target.tls and replace(target.tls, server_name=target.tls.server_name or host)
    # The name may be an exception in no_proxy, while its addresses are not.
    direct = replace(target, tls=tls, proxy_address=None, direct=True)
    numeric = {
        f"[{where[0]}]:{port}" if family is socket.AF_INET6 else f"{where[0]}:{port}" for family, *_, where in found
    }
    return [replace(direct, address=address) for address in sorted(numeric)]


async def _reason(client: Client, target: Target, limit: float) -> str:
    """Returns gRPC's last connection error for one address."""
    async with client.another(target=target) as dialled:
        call = await dialled.call("Get", pb.MachineRef(id=""), timeout=limit)
    return call.details.rpartition("last error: ")[2] or call.code.name


async def probe(client: Client, *, run: str, note: Callable[[Breach], None] = lambda breach: None) -> TargetInfo:
    """Returns the capabilities of the target. Touches no machine: mutating calls name unknown ids.

    Calls `note` with what the first List breaks. Raises TargetError if the target is not a capacity provider.
    """
    others = asyncio.gather(health_status(client), _reflection(client), _delete(client, run), _scope(client, run))
    try:
        listing = await client.list()
        if not listing.answered_ok:
            error = _not_a_provider(client, listing.code, listing.outcome())
            breaches = await breaches_of_refusal(client, listing)
            raise (TargetBroken(error, breaches) if breaches else error)
        for breach in await breaches_at_start(client, listing):
            note(breach)
        health, reflection, delete, scope = await others
    finally:
        # If List is not answered, cancel the other calls: each would cost another RPC timeout.
        others.cancel()
        await asyncio.gather(others, return_exceptions=True)
    return _described(listing, client.target, health=health, reflection=reflection, delete=delete, fence_scope=scope)


def _described(listing: Call, target: Target, **answers: Any) -> TargetInfo:
    """Returns the target's capabilities, from a List of all machines and the `answers` to the other calls."""
    machines: Sequence[pb.Machine] = listing.response.machines
    # The ledger must hold an id unchanged, or a sweep could not clean the machine up.
    usable = _usable(machines, Redactor(target.headers).is_clean)
    fleet: Counter[str] = Counter()
    for number, count in Counter(machine.state for machine in machines).items():
        fleet[state_of(number).name] += count  # several unknown numbers are one state
    return TargetInfo(
        fleet=dict(fleet),
        revisions=bool(listing.response.revision),
        tls=target.tls is not None,
        client_certificate=target.tls is not None and target.tls.cert is not None,
        capacity_types=_capacity_types(machines),
        spot=any(m.capacity_type == pb.CAPACITY_TYPE_SPOT for m in machines),
        zones=tuple(sorted({m.zone for m in machines if m.zone})),
        speculative=tuple(m.id for m in usable.slots),
        unusable=usable.rejected,
        prices=tuple(m.price_per_hour for m in usable.slots if math.isfinite(m.price_per_hour)),
        idle=tuple(m.id for m in usable.idle),
        revision=listing.response.revision,
        **answers,
    )


def _capacity_types(machines: Sequence[pb.Machine]) -> tuple[str, ...]:
    """Returns the names of the capacity types; an unknown number as such."""
    names = pb.CapacityType.Name
    known = pb.CapacityType.values()
    kinds = {machine.capacity_type for machine in machines}
    return tuple(sorted(names(k).removeprefix("CAPACITY_TYPE_") if k in known else str(k) for k in kinds))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Usable:
    """The machines that a run may drive; `rejected` counts the others by the reason."""

    slots: Sequence[pb.Machine]
    idle: Sequence[pb.Machine]
    rejected: dict[str, int]


def _usable(machines: Sequence[pb.Machine], tells: Callable[[str], bool]) -> _Usable:
    """Sorts a fleet into machines that a run may drive, and machines that it may not."""
    ids = Counter(machine.id for machine in machines)
    reason_of = {machine_id: _unusable(machine_id, times, tells) for machine_id, times in ids.items()}
    drivable = [machine for machine in machines if not reason_of[machine.id]]
    free = [machine for machine in drivable if state_of(machine.state) is State.SPECULATIVE]
    slots = [machine for machine in free if not create_fails_by_label(machine.labels)]
    reasons = [reason_of[machine.id] for machine in machines if reason_of[machine.id]]
    return _Usable(
        slots=slots,
        idle=[machine for machine in drivable if state_of(machine.state) is State.IDLE and not machine.cluster],
        rejected=dict(Counter([*reasons, *[DOOMED] * (len(free) - len(slots))])),
    )


def _unusable(machine_id: str, times: int, tells: Callable[[str], bool]) -> str:
    """Returns why an id that `times` machines have cannot be used; empty if it can."""
    if not machine_id:
        return "without an id"
    if times > 1:
        return "with the same id as another machine"
    return (
        ""
        if tells(machine_id)
        else f"with an id that is longer than {MAX_SENT_CHARACTERS} characters, or holds a secret"
    )


def _not_a_provider(client: Client, code: grpc.StatusCode, outcome: str) -> TargetError:
    """Returns the error for a target that does not answer List."""
    address = client.target.address
    if hint := http_answer.hint(outcome):
        return TargetError(f"target {address} does not answer List: {outcome}", hint=hint)
    match code:
        case grpc.StatusCode.UNIMPLEMENTED:
            return TargetError(
                f"target {address} does not serve bigfleet.v1alpha1.CapacityProvider",
                hint="is this the provider's port?",
            )
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return TargetError(
                f"target {address} denies access: List answered {outcome}",
                hint="give credentials with --header or --tls-cert/--tls-key",
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TargetError(
                f"target {address} does not answer List within {client.rpc_timeout:g} s",
                hint="--rpc-timeout sets a longer limit",
            )
        case _ if too_large(client.target.max_answer) in outcome:
            limit = show_size(client.target.max_answer)
            return TargetError(
                f"target {address} returns a List that is larger than {limit}, or has too many machines for that limit",
                hint="--max-answer 512MiB accepts a larger fleet, if there is enough memory",
            )
        case _:
            return TargetError(f"target {address} does not answer List: {outcome}", hint="is this the provider's port?")


async def health_status(client: Client) -> str | None:
    """Returns what `grpc.health.v1` answers, or None if it is not served (WIR-4)."""
    from grpc_health.v1 import health_pb2

    call = await client.call_path(
        "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
    )
    if call.code is grpc.StatusCode.UNIMPLEMENTED:
        return None
    if not call.answered_ok:
        return call.code.name
    return serving_status(call.response)


async def _reflection(client: Client) -> bool:
    """Returns whether server reflection is served, under either of its names (WIR-4)."""
    return any(await asyncio.gather(*(lists_services(client, service) for service in REFLECTION_SERVICES)))


async def _delete(client: Client, run: str) -> bool:
    """Returns whether Delete is implemented: a provider without it answers UNIMPLEMENTED for every id (LIF-8).

    An HTTP status does not count: if a proxy has no route to Delete, machines that live on cost money.
    """
    shard = Shard(f"{run}-delete")
    for delay in (*LOST_CONNECTION_DELAYS, 0.0):
        call = await retry_while_overloaded(
            lambda: client.delete(f"{run}-no-such-machine", shard.next()), insists=True, delays=RETRY_DELAYS
        )
        if not call.cut_off:
            break
        await asyncio.sleep(delay)
    return not call.unimplemented


async def _scope(client: Client, run: str) -> str | None:
    """Returns the scope of a shard's mark (FEN-13), from calls about unknown ids; None if it is unclear."""
    here, there = f"{run}-no-such-machine-1", f"{run}-no-such-machine-2"
    for number, pause in enumerate((*LOST_CONNECTION_DELAYS, 0.0)):
        shard = Shard(f"{run}-scope{number or ''}")
        first = await client.drain(here, shard.token(epoch=1, sequence=9))
        again = await client.drain(here, shard.token(epoch=1, sequence=9))
        other = await client.drain(there, shard.token(epoch=1, sequence=8))
        fresh = await client.drain(there, shard.token(epoch=1, sequence=10))
        # A call that was rejected for load, or cut off, may not have reached the fence: the answers could fit the wrong
        # scope.
        calls = (first, again, other, fresh)
        decided = all(call.answered and not call.busy for call in calls)
        if decided or not all(call.answered or call.cut_off for call in calls):
            break
        await asyncio.sleep(pause)
    if not all(call.answered for call in (first, again, other, fresh)):
        return None
    if first.code is grpc.StatusCode.PERMISSION_DENIED:
        raise TargetError(
            f"target {client.target.address} rejects the kit's shard ids: {first.outcome()}",
            hint="a certificate that names one shard (SEC-2) is not enough: the kit needs a shard for every machine",
        )
    if not decided or first.fenced or not again.fenced or fresh.fenced:
        return None
    return SHARD if other.fenced else SHARD_MACHINE
