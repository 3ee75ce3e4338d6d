"""WIR broken: strict parsers, heavy requests, and doors that should not be there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.unknown_fields import UnknownFieldSet

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, State
from fake_provider.servicer import SERVICE, Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fake_provider.fence import Token
    from fake_provider.request import Configure, Filter, Request
    from fake_provider.servicer import Context, Fenced


def strict(request: Any) -> None:
    if len(UnknownFieldSet(request)):
        raise Rejected(Code.INVALID_ARGUMENT, "unknown field")


# WIR-1


@mutant("WIR-1", "WIR-1a", "WIR-1b")
class MutationsAreStrict(Servicer):
    """A request with a field that is not known is refused: it might be important."""

    def token(self, request: Fenced) -> Token:
        strict(request)
        return super().token(request)


@mutant("WIR-1", "WIR-1a", "WIR-1b")
class DrainIsStrict(Servicer):
    """Drain alone is parsed strictly: it is dangerous."""

    def drain(self, request: pb.DrainRequest) -> Request:
        strict(request)
        return super().drain(request)


@mutant("WIR-1", "WIR-1b")
class ConfigureIsStrict(Servicer):
    """Configure alone is parsed strictly: what it carries is kept."""

    def configure(self, request: pb.ConfigureRequest) -> Request:
        strict(request)
        return super().configure(request)


@mutant("WIR-1", "WIR-1b")
class UnknownFieldsNameTheCluster(Servicer):
    """A hand-written parser takes a field that it does not know for the one before: the last text is the cluster."""

    def configure(self, request: pb.ConfigureRequest) -> Request:
        if len(UnknownFieldSet(request)):
            request.cluster_id = "v9"
        return super().configure(request)


@mutant("WIR-1", "WIR-1c")
class UnknownFieldsAskForLess(Servicer):
    """A Get with a field that is not known is answered as to a client of another version, without what is new."""

    async def Get(self, request: pb.MachineRef, context: Context) -> pb.Machine:  # noqa: N802
        shown = pb.Machine()
        shown.CopyFrom(await super().Get(request, context))
        if len(UnknownFieldSet(request)):
            shown.ClearField("resources")
        return shown


@mutant("WIR-1", "WIR-1a")
class UnknownFieldsMakeAnotherRequest(Servicer):
    """A retry is known by the bytes of its request, token apart: with a field more it is another operation."""

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        ack = await super().Create(request, context)
        ack.operation_id += "-again" * bool(len(UnknownFieldSet(request)))
        return ack


@mutant("WIR-1", "WIR-1a")
class DeleteIsStrict(Servicer):
    """Delete alone is parsed strictly: it cannot be undone."""

    def delete(self, request: pb.DeleteRequest) -> Request:
        strict(request)
        return super().delete(request)


@mutant("WIR-1", "WIR-1c")
class ListIsStrict(Servicer):
    """A filter that is not known cannot be applied, so the List is refused."""

    def filter(self, request: pb.ListFilter) -> Filter:
        strict(request)
        return super().filter(request)


@mutant("WIR-1", "WIR-1c")
class UnknownFiltersMatchNothing(Servicer):
    """A filter that is not known is one that no machine passes."""

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        answer = await super().List(request, context)
        unknown = UnknownFieldSet(request)
        if any(self.filters(unknown[index].field_number) for index in range(len(unknown))):
            answer.ClearField("machines")
        return answer

    def filters(self, number: int) -> bool:
        return True


@mutant("WIR-1", "WIR-1c")
class FormerFiltersStillFilter(UnknownFiltersMatchNothing):
    """Still has the filters of the contract before this one, under the numbers that are reserved for them now."""

    def filters(self, number: int) -> bool:
        return number in (2, 3)


@mutant("WIR-1", "WIR-1b")
class UnknownFieldsAreReadAsTheNext(Servicer):
    """A hand-written parser loses its place at a field that it does not know: what it kept of it is lost."""

    def configure(self, request: pb.ConfigureRequest) -> Request:
        if len(UnknownFieldSet(request)):
            request.ClearField("shard_metadata")
        return super().configure(request)


# WIR-2


@mutant("WIR-2", "WIR-2a")
class UnknownStatesAreRefused(Core):
    """A state that is not in the enum is an invalid argument."""

    def validate_filter(self, wanted: Filter) -> None:
        super().validate_filter(wanted)
        if any(state not in State.__members__.values() for state in wanted.states):
            raise Rejected(Code.INVALID_ARGUMENT, "states: unknown")


@mutant("WIR-2", "WIR-2a")
class UnknownStatesAreDropped(Servicer):
    """States that are not known are left out of the filter, and an empty filter means all."""

    def filter(self, request: pb.ListFilter) -> Filter:
        known = frozenset(int(state) for state in request.states) & frozenset(int(state) for state in State)
        return replace(super().filter(request), states=known)


@mutant("WIR-2", "WIR-2a")
class UnknownStatesSpoilTheFilter(Core):
    """One state that is not known, and nothing matches."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        known = all(state in State.__members__.values() for state in wanted.states)
        return known and super().matches(machine, wanted)


@mutant("WIR-2", "WIR-2a")
class UnknownStatesAreIndices(Core):
    """-1 is the last state of the table."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        table = [State.FAILED, State.CONFIGURED, State.IDLE]
        return super().matches(machine, wanted) or (-1 in wanted.states and machine.state is table[-1])


# WIR-4


@mutant("WIR-4", "WIR-4a")
class HealthIsNeverSet(Servicer):
    """The health service is registered and nobody sets it."""

    health = "NOT_SERVING"


@mutant("WIR-4", "WIR-4a")
class HealthIsUnknown(Servicer):
    """The health service starts with UNKNOWN and stays there."""

    health = "UNKNOWN"


def described(change: Callable[[descriptor_pb2.FileDescriptorProto], object]) -> descriptor_pool.DescriptorPool:
    """The contract's file with a change."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    change(file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def field(file: descriptor_pb2.FileDescriptorProto, message: str, name: str) -> descriptor_pb2.FieldDescriptorProto:
    found = next(m for m in file.message_type if m.name == message)
    return next(f for f in found.field if f.name == name)


@mutant("WIR-4", "WIR-4b")
class AnotherNumber(Servicer):
    """A field was moved up to close a gap."""

    descriptors = described(lambda file: setattr(field(file, "ListFilter", "max_results"), "number", 2))


@mutant("WIR-4", "WIR-4b")
class AnotherType(Servicer):
    """Numbers that are never negative were made fixed-width."""

    descriptors = described(
        lambda file: setattr(
            field(file, "DrainRequest", "sequence_number"), "type", descriptor_pb2.FieldDescriptorProto.TYPE_FIXED64
        )
    )


@mutant("WIR-4", "WIR-4b")
class NoListMethod(Servicer):
    """List was renamed."""

    descriptors = described(lambda file: setattr(file.service[0].method[5], "name", "ListMachines"))


@mutant("WIR-4", "WIR-4b")
class ListStreams(Servicer):
    """List answers in a stream."""

    descriptors = described(lambda file: setattr(file.service[0].method[5], "server_streaming", True))


@mutant("WIR-4", "WIR-4b")
class AStateIsMissing(Servicer):
    """The enum knows no FAILED."""

    descriptors = described(lambda file: file.enum_type[0].value.pop())


# WIR-5


@mutant("WIR-5", "WIR-5a")
class ABlobOf16KibAtMost(Core):
    """The cloud's limit for user data is handed on with the cloud's code."""

    def validate_blob(self, request: Configure) -> None:
        if len(request.blob) > 16384:
            raise Rejected(Code.ABORTED, "user data is limited to 16384 bytes")


@mutant("WIR-5", "WIR-5a")
class ABigBlobIsAnInternalError(Core):
    """The blob is written to a column that is too small."""

    def validate_blob(self, request: Configure) -> None:
        if len(request.blob) > 65535:
            raise Rejected(Code.INTERNAL, "data too long for column 'bootstrap'")


@mutant("WIR-5", "WIR-5a")
class ABigBlobIsRefusedTooLate(Core):
    """The blob is looked at when the machine is already bound."""

    def validate_blob(self, request: Configure) -> None:
        pass

    def bound(self, machine: Machine, request: Configure) -> Machine:
        machine = super().bound(machine, request)
        if len(request.blob) > 65535:
            self.put(replace(machine, state=State.IDLE))
            raise Rejected(Code.INVALID_ARGUMENT, "bootstrap_blob is too large")
        return machine


@mutant("WIR-5", "WIR-5b")
class MetadataAboveItsLimitIsUnavailable(Core):
    """Metadata goes to a store that refuses more than 32 KiB, and the refusal reads like an outage."""

    def validate_metadata(self, request: Configure) -> None:
        if sum(len(key) + len(value) for key, value in request.metadata.items()) > 32768:
            raise Rejected(Code.UNAVAILABLE, "etcdserver: request is too large")


@mutant("WIR-5", "WIR-5b")
class MetadataIsCutAt32Kib(Core):
    """What does not fit into 32 KiB is left out."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        kept: dict[str, str] = {}
        for key, value in request.metadata.items():
            if sum(len(k) + len(v) for k, v in kept.items()) + len(value) < 32768:
                kept[key] = value
        return replace(super().bound(machine, request), shard_metadata=kept)


@mutant("WIR-5", "WIR-5c")
class OneMebibyteInAll(Core):
    """A request of more than 1 MiB and a bit is an internal error."""

    def validate_blob(self, request: Configure) -> None:
        if len(request.blob) + sum(len(value) for value in request.metadata.values()) > (1 << 20) + 1024:
            raise Rejected(Code.INTERNAL, "request too large")


# WIR-6


class CatchAll(grpc.GenericRpcHandler):
    """Answers whatever nobody else answers, as `answer` says, for the paths that `mine` says."""

    def __init__(self, mine: Callable[[str], bool], answer: Callable[[str, Context], Awaitable[bytes]]) -> None:
        self.mine, self.answer = mine, answer

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        path = details.method

        async def behaviour(request: bytes, context: Context) -> bytes:
            return await self.answer(path, context)

        return grpc.unary_unary_rpc_method_handler(behaviour) if self.mine(path) else None


async def nothing(path: str, context: Context) -> bytes:
    return b""


async def unknown(path: str, context: Context) -> bytes:
    return bytes(await context.abort(grpc.StatusCode.UNKNOWN, f"unknown method {path}"))


async def not_found(path: str, context: Context) -> bytes:
    return bytes(await context.abort(grpc.StatusCode.NOT_FOUND, f"no route for {path}"))


@mutant("WIR-6", "WIR-6a", "WIR-6b")
class UnknownMethodsAreNotFound(Servicer):
    """A gateway answers for what it has no route to, with the web's code."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return (CatchAll(lambda path: "NoSuch" in path or "v9" in path, not_found),)


@mutant("WIR-6", "WIR-6a")
class UnknownMethodsAreUnknown(Servicer):
    """A method that is not there is an error like any other."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return (CatchAll(lambda path: path.startswith(f"/{SERVICE}/NoSuch"), unknown),)


@mutant("WIR-6", "WIR-6a")
class MethodsWithoutCase(Servicer):
    """Methods are looked up without regard to case."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return (CatchAll(lambda path: path == f"/{SERVICE}/create", nothing),)


@mutant("WIR-6", "WIR-6b")
class AnyServiceWillDo(Servicer):
    """Only the method's name is looked at, so every version of the service is served."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return (CatchAll(lambda path: SERVICE not in path and path.endswith("/List"), nothing),)
