"""Providers with strict parsers, low size limits or wrong methods (contract §1, WIR)."""

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
    """Refuses mutating calls with unknown fields."""

    def token(self, request: Fenced) -> Token:
        strict(request)
        return super().token(request)


@mutant("WIR-1", "WIR-1a", "WIR-1b")
class DrainIsStrict(Servicer):
    """Refuses a Drain with unknown fields."""

    def drain(self, request: pb.DrainRequest) -> Request:
        strict(request)
        return super().drain(request)


@mutant("WIR-1", "WIR-1b")
class ConfigureIsStrict(Servicer):
    """Refuses a Configure with unknown fields."""

    def configure(self, request: pb.ConfigureRequest) -> Request:
        strict(request)
        return super().configure(request)


@mutant("WIR-1", "WIR-1b")
class UnknownFieldsNameTheCluster(Servicer):
    """Takes the cluster_id of a Configure from an unknown field."""

    def configure(self, request: pb.ConfigureRequest) -> Request:
        if len(UnknownFieldSet(request)):
            request.cluster_id = "v9"
        return super().configure(request)


@mutant("WIR-1", "WIR-1c")
class UnknownFieldsAskForLess(Servicer):
    """Omits resources from a Get with unknown fields."""

    async def Get(self, request: pb.MachineRef, context: Context) -> pb.Machine:  # noqa: N802
        shown = pb.Machine()
        shown.CopyFrom(await super().Get(request, context))
        if len(UnknownFieldSet(request)):
            shown.ClearField("resources")
        return shown


@mutant("WIR-1", "WIR-1a")
class UnknownFieldsMakeAnotherRequest(Servicer):
    """Gives a repeated Create with unknown fields another operation_id."""

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        ack = await super().Create(request, context)
        ack.operation_id += "-again" * bool(len(UnknownFieldSet(request)))
        return ack


@mutant("WIR-1", "WIR-1a")
class DeleteIsStrict(Servicer):
    """Refuses a Delete with unknown fields."""

    def delete(self, request: pb.DeleteRequest) -> Request:
        strict(request)
        return super().delete(request)


@mutant("WIR-1", "WIR-1c")
class ListIsStrict(Servicer):
    """Refuses a List with unknown fields."""

    def filter(self, request: pb.ListFilter) -> Filter:
        strict(request)
        return super().filter(request)


@mutant("WIR-1", "WIR-1c")
class UnknownFiltersMatchNothing(Servicer):
    """Returns no machines for a List with unknown fields."""

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
    """Returns no machines for a List with the fields that the contract reserves."""

    def filters(self, number: int) -> bool:
        return number in (2, 3)


@mutant("WIR-1", "WIR-1b")
class UnknownFieldsAreReadAsTheNext(Servicer):
    """Loses the metadata of a Configure with unknown fields."""

    def configure(self, request: pb.ConfigureRequest) -> Request:
        if len(UnknownFieldSet(request)):
            request.ClearField("shard_metadata")
        return super().configure(request)


# WIR-2


@mutant("WIR-2", "WIR-2a")
class UnknownStatesAreRefused(Core):
    """Refuses a filter with an unknown state."""

    def validate_filter(self, wanted: Filter) -> None:
        super().validate_filter(wanted)
        if any(state not in State.__members__.values() for state in wanted.states):
            raise Rejected(Code.INVALID_ARGUMENT, "states: unknown")


@mutant("WIR-2", "WIR-2a")
class UnknownStatesAreDropped(Servicer):
    """Ignores unknown states in a filter, and returns all machines if there are no others."""

    def filter(self, request: pb.ListFilter) -> Filter:
        known = frozenset(int(state) for state in request.states) & frozenset(int(state) for state in State)
        return replace(super().filter(request), states=known)


@mutant("WIR-2", "WIR-2a")
class UnknownStatesSpoilTheFilter(Core):
    """Returns no machines for a filter with an unknown state, whatever else it contains."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        known = all(state in State.__members__.values() for state in wanted.states)
        return known and super().matches(machine, wanted)


@mutant("WIR-2", "WIR-2a")
class UnknownStatesAreIndices(Core):
    """Treats state -1 as IDLE, the last entry of a table."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        table = [State.FAILED, State.CONFIGURED, State.IDLE]
        return super().matches(machine, wanted) or (-1 in wanted.states and machine.state is table[-1])


# WIR-4


@mutant("WIR-4", "WIR-4a")
class HealthIsNeverSet(Servicer):
    """Answers NOT_SERVING to health checks."""

    health = "NOT_SERVING"


@mutant("WIR-4", "WIR-4a")
class HealthIsUnknown(Servicer):
    """Answers UNKNOWN to health checks."""

    health = "UNKNOWN"


def described(change: Callable[[descriptor_pb2.FileDescriptorProto], object]) -> descriptor_pool.DescriptorPool:
    """Returns the contract's descriptors with one change."""
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
    """Describes a field with another number."""

    descriptors = described(lambda file: setattr(field(file, "ListFilter", "max_results"), "number", 2))


@mutant("WIR-4", "WIR-4b")
class AnotherType(Servicer):
    """Describes a field with another type."""

    descriptors = described(
        lambda file: setattr(
            field(file, "DrainRequest", "sequence_number"), "type", descriptor_pb2.FieldDescriptorProto.TYPE_FIXED64
        )
    )


def delimit(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Gives the machine in an ack the delimited encoding, which is a feature of editions."""
    file.syntax, file.edition = "editions", descriptor_pb2.EDITION_2023
    field(file, "TransitionAck", "machine").options.features.message_encoding = descriptor_pb2.FeatureSet.DELIMITED


@mutant("WIR-4", "WIR-4b")
class AnotherEncoding(Servicer):
    """Describes a message field with delimited encoding."""

    descriptors = described(delimit)


@mutant("WIR-4", "WIR-4b")
class NoListMethod(Servicer):
    """Describes List under another name."""

    descriptors = described(lambda file: setattr(file.service[0].method[5], "name", "ListMachines"))


@mutant("WIR-4", "WIR-4b")
class ListStreams(Servicer):
    """Describes List as a streaming method."""

    descriptors = described(lambda file: setattr(file.service[0].method[5], "server_streaming", True))


@mutant("WIR-4", "WIR-4b")
class AStateIsMissing(Servicer):
    """Describes the states without FAILED."""

    descriptors = described(lambda file: file.enum_type[0].value.pop())


# WIR-5


@mutant("WIR-5", "WIR-5a")
class ABlobOf16KibAtMost(Core):
    """Answers ABORTED for a bootstrap blob above 16 KiB."""

    def validate_blob(self, request: Configure) -> None:
        if len(request.blob) > 16384:
            raise Rejected(Code.ABORTED, "user data is limited to 16384 bytes")


@mutant("WIR-5", "WIR-5a")
class ABigBlobIsAnInternalError(Core):
    """Answers INTERNAL for a large bootstrap blob."""

    def validate_blob(self, request: Configure) -> None:
        if len(request.blob) > 65535:
            raise Rejected(Code.INTERNAL, "data too long for column 'bootstrap'")


@mutant("WIR-5", "WIR-5a")
class ABigBlobIsRefusedTooLate(Core):
    """Refuses a large bootstrap blob only after it has bound the machine."""

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
    """Answers UNAVAILABLE for metadata above 32 KiB."""

    def validate_metadata(self, request: Configure) -> None:
        if sum(len(key) + len(value) for key, value in request.metadata.items()) > 32768:
            raise Rejected(Code.UNAVAILABLE, "etcdserver: request is too large")


@mutant("WIR-5", "WIR-5b")
class MetadataIsCutAt32Kib(Core):
    """Drops the metadata that exceeds 32 KiB."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        kept: dict[str, str] = {}
        for key, value in request.metadata.items():
            if sum(len(k) + len(v) for k, v in kept.items()) + len(value) < 32768:
                kept[key] = value
        return replace(super().bound(machine, request), shard_metadata=kept)


@mutant("WIR-5", "WIR-5c")
class OneMebibyteInAll(Core):
    """Answers INTERNAL for a request above about 1 MiB."""

    def validate_blob(self, request: Configure) -> None:
        if len(request.blob) + sum(len(value) for value in request.metadata.values()) > (1 << 20) + 1024:
            raise Rejected(Code.INTERNAL, "request too large")


# WIR-6


class CatchAll(grpc.GenericRpcHandler):
    """Answers the paths that `mine` accepts with `answer`, if no other handler does."""

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
    """Answers NOT_FOUND for an unknown method or service."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return (CatchAll(lambda path: "NoSuch" in path or "v9" in path, not_found),)


@mutant("WIR-6", "WIR-6a")
class UnknownMethodsAreUnknown(Servicer):
    """Answers UNKNOWN for an unknown method."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return (CatchAll(lambda path: path.startswith(f"/{SERVICE}/NoSuch"), unknown),)


@mutant("WIR-6", "WIR-6a")
class MethodsWithoutCase(Servicer):
    """Serves methods without regard to the case of their names."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return (CatchAll(lambda path: path == f"/{SERVICE}/create", nothing),)


@mutant("WIR-6", "WIR-6b")
class AnyServiceWillDo(Servicer):
    """Serves List under any service name."""

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return (CatchAll(lambda path: SERVICE not in path and path.endswith("/List"), nothing),)
