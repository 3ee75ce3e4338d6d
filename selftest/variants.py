"""Variants: unusual but conformant providers, for which no behaviour may fail, warn or end in an error.

Each does something that the contract leaves open and that real providers do. If a SHOULD advises against it, the
variant names the behaviours that may warn of it.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

import selftest.variants_graces  # registers them
import selftest.variants_held  # noqa: F401  # registers them
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Operation, State, Verb
from fake_provider.request import Listing
from fake_provider.servicer import SERVICE, Servicer
from selftest import variants_of_names as variants_of_names  # registers them
from selftest.variant import VARIANTS as VARIANTS
from selftest.variant import Variant as Variant
from selftest.variant import variant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fake_provider.fence import Token
    from fake_provider.machine import Machine
    from fake_provider.request import Ack, Configure, Filter, Request
    from fake_provider.store import MarkKey


@variant()
class OpaqueCursors(Core):
    """Gives random bytes as revisions, and remembers what they stand for."""

    def encode_cursor(self, number: int) -> bytes:
        given: dict[bytes, int] = self.__dict__.setdefault("given", {})
        cursor = self.rng.randbytes(self.rng.randint(8, 40))
        given[cursor] = number
        return cursor

    def decode_cursor(self, cursor: bytes) -> int | None:
        given: dict[bytes, int] = self.__dict__.setdefault("given", {})
        return given.get(cursor)


@variant()
class RestlessRevision(Core):
    """Gives another revision with every List, even if nothing has changed."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.inventory.revision += 1
        return super().list_machines(wanted, now)


@variant()
class RandomOrder(Core):
    """Lists machines in a random order."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        shuffled = list(listing.machines)
        self.rng.shuffle(shuffled)
        return Listing(machines=shuffled, revision=listing.revision)


@variant()
class SequencesStartAtOne(Core):
    """Refuses a sequence number of 0 with INVALID_ARGUMENT, once the token has moved the mark."""

    def validate(self, verb: Verb, request: Request) -> None:
        if request.token.shard and not request.token.sequence:
            raise Rejected(Code.INVALID_ARGUMENT, "sequence_number must be positive")
        super().validate(verb, request)


@variant()
class WildOperationIds(Core):
    """Gives operation ids of any form: long, with control characters or spaces, in any script."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        serial = super().new_operation_id(verb, machine)
        return self.rng.choice(["", "操作/", "\u0000 ", "é" * 700, "…🦊 "]) + serial


@variant(warns=("COD-2l", "COD-2m"))
class AnyCode(Core):
    """Refuses a call that has no edge with any code except FAILED_PRECONDITION."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        codes = [code for code in Code if code is not Code.FAILED_PRECONDITION]
        return Rejected(self.rng.choice(codes), "not from here")


@variant(warns=("COD-2l", "COD-2m"))
class NoEdgeIsUnavailable(Core):
    """Answers UNAVAILABLE to every call that has no edge."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        return Rejected(Code.UNAVAILABLE, "not from here")


@variant(warns=("COD-2l", "COD-2m"))
class NoEdgeIsExhausted(Core):
    """Answers RESOURCE_EXHAUSTED to every call that has no edge."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        return Rejected(Code.RESOURCE_EXHAUSTED, "not from here")


@variant(machines=64, leaves_failed=True)
class EveryNinthCreateFails(Core):
    """Ends every ninth Create in FAILED with a last_error (FLT-1)."""

    creates = 0

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        started = super().start(verb, machine, request, now)
        self.creates += verb is Verb.CREATE
        if verb is not Verb.CREATE or self.creates % 9 or started.operation is None:
            return started
        return self.put(replace(started, operation=replace(started.operation, error="the cloud has no host left")))


@variant()
class EveryNinthConfigureIsGivenUp(Core):
    """Gives up every ninth Configure before it touches the host: the machine is IDLE again, without a trace (FLT-1)."""

    configures = 0
    every = 9

    def settle(self, machine: Machine) -> Machine:
        self.configures += machine.state is State.CONFIGURING
        if machine.state is not State.CONFIGURING or self.configures % self.every:
            return super().settle(machine)
        return replace(machine, state=State.IDLE, cluster="", shard_metadata={})


@variant()
class LongErrors(Servicer):
    """Answers a refused call with an error text of 12 kB."""

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Rejected as rejected:
            await context.abort(self.status(rejected.code), f"{rejected.message} ".ljust(12_000, "x"))


@variant(warns=("FEN-14a",))
class TokenDemanded(Core):
    """Refuses calls without a token."""

    def unfenced(self, token: Token) -> bool:
        if token.absent:
            raise Rejected(Code.INVALID_ARGUMENT, "a token is needed")
        return False


@variant()
class EmptyShardIsNoToken(Core):
    """Does not fence calls with an empty shard id, whatever their numbers."""

    def unfenced(self, token: Token) -> bool:
        return not token.shard


@variant()
class EmptyShardIsInvalid(Core):
    """Refuses numbers without a shard id."""

    def unfenced(self, token: Token) -> bool:
        if not (token.shard or token.absent):
            raise Rejected(Code.INVALID_ARGUMENT, "a shard id is needed")
        return super().unfenced(token)


@variant()
class UnicodeIds(Core):
    """Uses machine ids with spaces, slashes and letters of several scripts."""

    def __init__(self, machines: Sequence[Machine], **options: Any) -> None:
        super().__init__([replace(m, id=f"zürich/ラック 7/{m.id}~é") for m in machines], **options)


@variant(warns=("SHP-1b",))
class NoZones(Core):
    """Does not know zones."""

    def __init__(self, machines: Sequence[Machine], **options: Any) -> None:
        super().__init__([replace(m, zone="") for m in machines], **options)


@variant()
class RestlessFleet(Core):
    """Changes labels, prices and revisions of machines all the time, without any call."""

    def advance(self, now: float) -> None:
        super().advance(now)
        rng = self.__dict__.setdefault("weather", random.Random(7))
        machine = rng.choice(list(self.machines.values()))
        self.put(replace(machine, price_per_hour=rng.random(), labels={"weather": str(rng.random())}))
        self.commit()


@variant()
class SmallMetadata(Core):
    """Accepts no more metadata than it must: 64 keys and 16 KiB."""

    def validate_metadata(self, request: Configure) -> None:
        size = sum(len(k.encode()) + len(v.encode()) for k, v in request.metadata.items())
        if len(request.metadata) > 64 or size > 16 * 1024:
            raise Rejected(Code.INVALID_ARGUMENT, "too much metadata")


@variant()
class SmallBlobs(Core):
    """Accepts bootstrap blobs of up to 16 KiB, and answers RESOURCE_EXHAUSTED above."""

    def validate_blob(self, request: Configure) -> None:
        if len(request.blob) > 16 * 1024:
            raise Rejected(Code.RESOURCE_EXHAUSTED, "the blob is too large")


@variant()
class NewerThanTheKit(Servicer):
    """Answers with fields that the kit does not know."""

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        built.MergeFromString(b"\xfa\x7f\x05later")  # field 2047, a string
        return built


@variant()
class MapEntriesOfANewerContract(Servicer):
    """Adds an unknown field to every entry of every map, as a newer contract may."""

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        extend_map_entries(built, "labels", "shard_metadata")
        for name in ("resources", "allocatable"):
            if built.HasField(name):
                extend_map_entries(getattr(built, name), "resources")
        return built


@variant()
class OneSlowAck(Servicer):
    """Answers one Configure and one Drain late, like a provider on a busy computer."""

    slow = frozenset({"Configure", "Drain"})

    async def Configure(self, request: pb.ConfigureRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
        return await self.delayed("Configure", await super().Configure(request, context))

    async def Drain(self, request: pb.DrainRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
        return await self.delayed("Drain", await super().Drain(request, context))

    async def delayed(self, verb: str, ack: pb.TransitionAck) -> pb.TransitionAck:
        if verb in self.slow:
            self.slow -= {verb}
            await asyncio.sleep(1.5)
            return pb.TransitionAck(
                operation_id=ack.operation_id, machine=self.machine(self.core.machines[ack.machine.id])
            )
        return ack


@variant(serving={"reflection": False})
class ReflectionV1(Servicer):
    """Serves reflection as `grpc.reflection.v1` only."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        handler = grpc.stream_stream_rpc_method_handler(
            ReflectionServicer([SERVICE], pool=self.descriptors).ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        methods = {"ServerReflectionInfo": handler}
        return (grpc.method_handlers_generic_handler("grpc.reflection.v1.ServerReflection", methods),)


@variant(warns=("WIR-6b",))
class OtherServicesHaveNoRoute(Servicer):
    """Answers NOT_FOUND to a call of another service, as a routing proxy in front of a provider may."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return (NoRoute(),)


class NoRoute(grpc.GenericRpcHandler):
    """Answers NOT_FOUND to every call of another service of the contract's package."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        async def refuse(request: bytes, context: Any) -> None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no route for {details.method}")

        other = details.method.startswith("/bigfleet.") and not details.method.startswith(f"/{SERVICE}/")
        return grpc.unary_unary_rpc_method_handler(refuse) if other else None


def extend_map_entries(message: Any, *maps: str) -> None:
    """Replaces the entries of the maps with encoded ones that have an unknown field."""
    for name in maps:
        entries = dict(getattr(message, name))
        message.ClearField(name)
        tag = varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | 2)
        for key, value in entries.items():
            # A HostRef has the fields of an entry: two strings, with the numbers 1 and 2.
            entry = pb.HostRef(provider=key, ref=value).SerializeToString() + b"\x1a\x05later"
            message.MergeFromString(tag + varint(len(entry)) + entry)


def varint(number: int) -> bytes:
    """Returns the protobuf encoding of a number."""
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


@variant()
class NegativeCapIsNone(Core):
    """Treats a negative cap as no cap."""

    def validate_filter(self, wanted: Filter) -> None:
        pass

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return super().cap(machines, max(limit, 0))


@variant()
class ValidatesAtTheDoor(Core):
    """Validates a request before it checks the token, so that an invalid request does not move the mark."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        self.validate(verb, request)
        return super().serve(verb, request, now)


@variant(warns=("LIF-6h",))
class ConfiguringHidesItsCluster(Core):
    """Shows the cluster only when the machine is CONFIGURED."""

    def visible(self, machine: Machine) -> Machine:
        return replace(machine, cluster="") if machine.state is State.CONFIGURING else machine

    def shown_in_get(self, machine: Machine) -> Machine:
        return self.visible(super().shown_in_get(machine))

    def shown_in_list(self, machine: Machine) -> Machine:
        return self.visible(super().shown_in_list(machine))

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return self.visible(super().shown_in_ack(verb, machine))


@variant(warns=("LST-9a", "LST-10a", "LST-10b"))
class ListLags(Core):
    """Answers each List from a random replica that is up to half a second late."""

    at = 0.0

    def advance(self, now: float) -> None:
        self.at = now
        super().advance(now)

    def commit(self) -> None:
        super().commit()
        past: list[tuple[float, int, list[Machine]]] = self.__dict__.setdefault("past", [])
        if not past or past[-1][1] != self.inventory.revision:
            past.append((self.at, self.inventory.revision, list(self.machines.values())))

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.advance(now)
        self.validate_filter(wanted)
        then = now - self.rng.choice([0.0, 0.1, 0.5])
        past: list[tuple[float, int, list[Machine]]] = self.__dict__["past"]
        _, revision, machines = next((each for each in reversed(past) if each[0] <= then), past[0])
        since = self.since(wanted.since)
        found = [each for each in machines if self.changed(each, since) and self.matches(each, wanted)]
        kept = self.cap(found, wanted.max_results)
        last = kept[-1].revision if len(kept) < len(found) else max(since, revision)
        return Listing(machines=kept, revision=self.encode_cursor(last))


@variant()
class WholeDeltas(RestlessFleet):
    """Changes a price at each List, and returns the whole fleet as the delta."""

    whole = False

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.whole = not wanted.max_results  # a page must stay a real delta, or paging would never end
        return super().list_machines(wanted, now)

    def oldest_first(self, since: int) -> Sequence[Machine]:
        return super().oldest_first(0 if self.whole else since)

    def changed(self, machine: Machine, since: int) -> bool:
        return since < (self.inventory.revision if self.whole else machine.revision)


@variant()
class TellsTheTime(Servicer):
    """Adds an unknown field with changing content to each machine, and sometimes an empty host."""

    def machine(self, machine: Machine) -> pb.Machine:
        built = pb.Machine()
        built.CopyFrom(super().machine(machine))
        unknown_field = b"\xf9\x7f" + self.core.rng.randbytes(8)  # field 2047, of eight bytes
        built.MergeFromString(unknown_field)
        if machine.host:
            built.host.MergeFromString(unknown_field)
        elif self.core.rng.random() < 0.5:
            built.host.SetInParent()
        return built


@variant(latency="200ms", warns=("LIF-10a", "LIF-10b", "LIF-10c"))
class AckWaits(Servicer):
    """Answers a call only when its transition has ended, after less than a second."""

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        ack = await super().answer(context, work)
        if not isinstance(ack, pb.TransitionAck):
            return ack
        while (machine := self.core.machines[ack.machine.id]).moving:
            if machine.operation is None or machine.operation.id != ack.operation_id:
                return ack
            await asyncio.sleep(0.01)
        return pb.TransitionAck(operation_id=ack.operation_id, machine=self.machine(machine))


@variant()
class ShedsLoad(Servicer):
    """Rejects every 40th call before it processes it."""

    every = 40
    calls = 0

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        self.calls += 1
        return await super().answer(context, work if self.calls % self.every else self.reject)

    def reject(self) -> None:
        raise Rejected(Code.RESOURCE_EXHAUSTED if self.calls % (2 * self.every) else Code.UNAVAILABLE, "not now")


@variant()
class ShedsLoadLate(Core):
    """Rejects every 250th mutating call after it has raised the mark."""

    calls = 0

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        super().raise_mark(verb, key, token)
        self.calls += 1
        if self.calls % 250 == 0:
            raise Rejected(Code.UNAVAILABLE, "not now")


@variant(machines=8, idle=8, use_idle=True, options={"deletes": False}, warns=("COD-2l", "COD-2m"))
class IdleAnyCode(AnyCode):
    """Refuses to create machines that were IDLE at the start, each time with another code."""


@variant(latency="0")
class AnswersFromMemory(Core):
    """Answers retries with the first ack, and a Configure for another cluster too; transitions take no time."""

    def same_target(self, operation: Operation, request: Request) -> bool:
        return True

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        given: dict[str, Ack] = self.__dict__.setdefault("given", {})
        ack = super().serve(verb, request, now)
        return given.setdefault(ack.operation_id, ack)
