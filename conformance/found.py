"""What the kit found at the target before it touched anything."""

from __future__ import annotations

import asyncio
import math
import socket
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf.message import DecodeError

from conformance.answer import too_large
from conformance.busy import RETRY_DELAYS, retry_while_overloaded
from conformance.discretion import Discretion
from conformance.errors import TargetError
from conformance.lifecycle import State, doomed, state_of
from conformance.reflection import serving_status
from conformance.size import show_size
from conformance.text import LONGEST_SENT
from conformance.token import Shard

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from conformance.client import Client
    from conformance.target import Target

LARGE = 5000
"""A List of more machines than this is asked for sparingly."""
CROWD = 1000
"""So many machines in one state of a large fleet are too many to be listed without need."""
DIAGNOSIS = 5.0
"""Seconds, at most, that finding out takes why there is no connection; never more than was waited for one."""
CAPABILITIES = ("delete", "revisions", "create", "health", "reflection", "spot", "zones", "tls", "client-certificate")
SHARD, SHARD_MACHINE = "shard", "shard-machine"
DOOMED = "labelled so that its Create fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The target's shape: its fleet by state, and what it has and lacks."""

    fleet: dict[str, int]
    delete: bool
    revisions: bool
    fence_scope: str | None
    """`shard`, `shard-machine`, or None where the answers fit neither."""
    tls: bool
    client_certificate: bool
    """Whether the run shows a certificate, which says that the provider asks for one."""
    health: str | None
    """What `grpc.health.v1` answers; None where it is not served."""
    reflection: bool
    spot: bool
    """Whether any machine is SPOT."""
    zones: tuple[str, ...]
    speculative: tuple[str, ...] = field(repr=False)
    idle: tuple[str, ...] = field(repr=False)
    unusable: dict[str, int] = field(default_factory=dict, repr=False)
    """How many machines cannot be told apart or called by their ids, or are there to fail, by what is wrong."""
    prices: tuple[float, ...] = field(default=(), repr=False)
    """What an hour of each of the `speculative` ones costs, as far as the provider says it in numbers."""
    revision: bytes = field(default=b"", repr=False)
    """Of the List that all this was read from."""

    @property
    def large(self) -> bool:
        """Whether a List of everything should be asked for sparingly."""
        return sum(self.fleet.values()) > LARGE

    @property
    def crowded(self) -> frozenset[State]:
        """The states of a large fleet that a great many machines are in."""
        return frozenset(s for s in State if self.large and self.fleet.get(s.name, 0) > CROWD)

    @property
    def since(self) -> bytes:
        """The cursor for a look at what this run has changed: in a large fleet its beginning, where known (LST-6)."""
        return self.revision if self.large else b""

    def few(self, *ours: State) -> tuple[State, ...]:
        """The states to list where others are not missed: all, as (); of a large fleet `ours`, and where few are."""
        return tuple(s for s in State if s and (s in ours or s not in self.crowded)) if self.large else ()

    def has(self, capability: str) -> bool:
        """Whether the target has what a behaviour `needs`. Raises KeyError for a capability that nobody knows."""
        return {
            "delete": self.delete,
            "revisions": self.revisions,
            "create": bool(self.speculative),
            "health": self.health is not None,
            "reflection": self.reflection,
            "spot": self.spot,
            "zones": bool(self.zones),
            "tls": self.tls,
            "client-certificate": self.client_certificate,
        }[capability]

    def lines(self) -> list[str]:
        """What was found, for people."""
        fleet = ", ".join(f"{count} {state}" for state, count in sorted(self.fleet.items())) or "no machine"
        yes = {True: "yes", False: "no"}
        return [
            f"fleet      {fleet}",
            f"delete {yes[self.delete]} · revisions {yes[self.revisions]} · fence scope {self.fence_scope or 'unclear'}"
            f" · spot {yes[self.spot]} · zones {len(self.zones)}",
            f"TLS {yes[self.tls]} · health {self.health or 'not served'} · reflection {yes[self.reflection]}",
        ]

    def slots(self, *, use_idle: bool, luck: random.Random) -> list[tuple[str, State]]:
        """The machines that may be driven, each with its home, in an order that two runs do not share."""
        slots = [(machine, State.SPECULATIVE) for machine in self.speculative]
        luck.shuffle(slots)
        return [(machine, State.IDLE) for machine in self.idle] + slots if use_idle else slots


async def connect(client: Client, *, timeout: float) -> None:
    """Return when the target has answered on a connection.

    Raises TargetError within `timeout` seconds, and says which way it failed.
    """
    try:
        async with asyncio.timeout(timeout):
            await client.channel.channel_ready()
    except TimeoutError:
        raise await _diagnose(client, timeout) from None


async def _diagnose(client: Client, timeout: float) -> TargetError:
    """Why there is no connection, in words. Of several addresses of a name, the one that says most counts."""
    limit = min(timeout, DIAGNOSIS)
    reasons = await asyncio.gather(*(_reason(client, target, limit) for target in await _addresses(client.target)))
    reason = next((r for r in reasons if "refused" not in r.lower()), reasons[0])
    hint = "is the provider running, and is this its address? --connect-timeout waits longer"
    match reason.lower():
        case text if "refused" in text:
            what = "refuses connections"
        case text if "no such file" in text:
            what = "is no socket: there is no such file"
        case text if "alpn" in text:
            what = f"speaks TLS, but no HTTP/2 in it ({reason})"
            hint = "is it a gRPC server, and is this the provider's port?"
        case text if any(word in text for word in ("ssl", "tls", "certificate", "handshake", "verification")):
            what = f"does not complete a TLS handshake ({reason})"
            hint = "check --tls-ca, --server-name and the client pair, and whether the provider speaks TLS at all"
        case text if "resol" in text or "dns" in text or "name" in text:
            what = f"cannot be resolved ({reason})"
            hint = "check the host name"
        case text if "deadline" in text or ("timed out" in text and "settings frame" in text):
            what = f"accepts connections but says nothing that is gRPC within {timeout:g} s"
            hint = "is it a gRPC server, and does it want TLS (--tls-ca)?"
        case text if "settings frame" in text:
            what = f"answers, but not in gRPC ({reason})"
            hint = "is it a gRPC server, and is this the provider's port?"
        case _:
            what = f"hangs up before a gRPC connection is made ({reason})"
            hint = "is it a gRPC server, does it want TLS (--tls-ca), and a client certificate (--tls-cert)?"
    return TargetError(f"target {client.target.address} {what}", hint=hint)


async def _addresses(target: Target) -> Sequence[Target]:
    """The target, once for each address that its name stands for."""
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
    numeric = {
        f"[{where[0]}]:{port}" if family is socket.AF_INET6 else f"{where[0]}:{port}" for family, *_, where in found
    }
    return [replace(target, address=address, tls=tls, way=None) for address in sorted(numeric)]


async def _reason(client: Client, target: Target, limit: float) -> str:
    async with client.another(target=target) as dialled:
        call = await dialled.call("Get", pb.MachineRef(id=""), timeout=limit)
    return call.details.rpartition("last error: ")[2] or call.code.name


async def look(client: Client, *, run: str) -> Found:
    """Find out what the target is, touching no machine: what mutates is asked of ids that do not exist.

    Raises TargetError where the target is no capacity provider.
    """
    rest = asyncio.gather(_health(client), _reflection(client), _delete(client, run), _scope(client, run))
    try:
        listing = await client.list()
        if not listing.ok:
            raise _not_a_provider(client, listing.code, listing.outcome())
        health, reflection, delete, scope = await rest
    finally:
        # Who does not answer List is asked no more: each question would cost another rpc timeout.
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)
    machines: Sequence[pb.Machine] = listing.response.machines
    ids = Counter(machine.id for machine in machines)
    # What the ledger may not say as it is cannot be brought home by it.
    tells = Discretion(client.target.headers).tells
    wrong = {machine_id: _unusable(machine_id, times, tells) for machine_id, times in ids.items()}
    usable = [machine for machine in machines if not wrong[machine.id]]
    free = [machine for machine in usable if state_of(machine.state) is State.SPECULATIVE]
    slots = [machine for machine in free if not doomed(machine.labels)]
    fleet = Counter(machine.state for machine in machines)
    return Found(
        fleet=dict(sum((Counter({state_of(s).name: count}) for s, count in fleet.items()), Counter[str]())),
        delete=delete,
        revisions=bool(listing.response.revision),
        fence_scope=scope,
        tls=client.target.tls is not None,
        client_certificate=client.target.tls is not None and client.target.tls.cert is not None,
        health=health,
        reflection=reflection,
        spot=any(m.capacity_type == pb.CAPACITY_TYPE_SPOT for m in machines),
        zones=tuple(sorted({m.zone for m in machines if m.zone})),
        speculative=tuple(m.id for m in slots),
        unusable=dict(Counter([*filter(None, (wrong[m.id] for m in machines)), *[DOOMED] * (len(free) - len(slots))])),
        prices=tuple(m.price_per_hour for m in slots if math.isfinite(m.price_per_hour)),
        idle=tuple(m.id for m in usable if state_of(m.state) is State.IDLE and not m.cluster),
        revision=listing.response.revision,
    )


def _unusable(machine_id: str, times: int, tells: Callable[[str], bool]) -> str:
    """What is wrong with an id that so many machines have; empty where it is fit to be driven by."""
    if not machine_id:
        return "without an id"
    if times > 1:
        return "with the id of another one"
    return "" if tells(machine_id) else f"with an id that is longer than {LONGEST_SENT} characters, or holds a secret"


def _not_a_provider(client: Client, code: grpc.StatusCode, outcome: str) -> TargetError:
    address = client.target.address
    match code:
        case grpc.StatusCode.UNIMPLEMENTED:
            return TargetError(
                f"target {address} does not serve bigfleet.v1alpha1.CapacityProvider",
                hint="is this the provider's port?",
            )
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return TargetError(
                f"target {address} does not let us in: List answered {outcome}",
                hint="give credentials with --header or --tls-cert/--tls-key",
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TargetError(
                f"target {address} does not answer List within {client.rpc_timeout:g} s",
                hint="--rpc-timeout waits longer",
            )
        case _ if too_large(client.target.max_answer) in outcome:
            limit = show_size(client.target.max_answer)
            return TargetError(
                f"target {address} lists more than {limit}, or more machines than that holds",
                hint="--max-answer 512MiB takes in a larger fleet, where there is memory for it",
            )
        case _:
            return TargetError(f"target {address} does not answer List: {outcome}", hint="is this the provider's port?")


async def _health(client: Client) -> str | None:
    from grpc_health.v1 import health_pb2

    call = await client.call_path(
        "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
    )
    if call.code is grpc.StatusCode.UNIMPLEMENTED:
        return None
    if not call.ok:
        return call.code.name
    return serving_status(call.response)


async def _reflection(client: Client) -> bool:
    from grpc_reflection.v1alpha import reflection_pb2

    method: Any = client.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda request: request.SerializeToString(),
    )
    call = method(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=client.rpc_timeout)
    try:
        answer = await call.read()
        if answer is grpc.aio.EOF:
            return False
        told: bool = reflection_pb2.ServerReflectionResponse.FromString(answer).HasField("list_services_response")
        return told
    except (grpc.aio.AioRpcError, DecodeError):
        return False
    finally:
        call.cancel()


async def _delete(client: Client, run: str) -> bool:
    """Whether Delete is there at all: a provider without it answers UNIMPLEMENTED for every id (LIF-8)."""
    shard = Shard(f"{run}-delete")
    call = await retry_while_overloaded(
        lambda: client.delete(f"{run}-no-such-machine", shard.next()), insists=True, delays=RETRY_DELAYS
    )
    return call.code is not grpc.StatusCode.UNIMPLEMENTED


async def _scope(client: Client, run: str) -> str | None:
    """Which mark a shard's token meets on another machine (FEN-13), asked with ids that do not exist."""
    here, there = f"{run}-no-such-machine-1", f"{run}-no-such-machine-2"
    for number, pause in enumerate((*RETRY_DELAYS, 0.0)):
        shard = Shard(f"{run}-scope{number or ''}")
        first = await client.drain(here, shard.token(epoch=1, sequence=9))
        again = await client.drain(here, shard.token(epoch=1, sequence=9))
        other = await client.drain(there, shard.token(epoch=1, sequence=8))
        fresh = await client.drain(there, shard.token(epoch=1, sequence=10))
        if not any(call.busy for call in (first, again, other, fresh)):
            break
        await asyncio.sleep(pause)
    if first.code is grpc.StatusCode.PERMISSION_DENIED:
        raise TargetError(
            f"target {client.target.address} refuses shard ids of our own: {first.outcome()}",
            hint="a certificate that names one shard (SEC-2) will not do: the kit needs a shard for every machine",
        )
    if first.fenced or not again.fenced or fresh.fenced:
        return None
    return SHARD if other.fenced else SHARD_MACHINE
