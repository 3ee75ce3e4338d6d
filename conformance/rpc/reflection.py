"""Fetches the target's descriptors by server reflection and compares them with the contract."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2

from conformance.core.errors import NoAnswer, Violation
from conformance.rpc.backoff import INSISTENT_RETRY_DELAYS
from conformance.rpc.client import REFUSED_STREAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.rpc.client import Client

SERVICE: Final = "bigfleet.v1alpha1.CapacityProvider"
REFLECTION_SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""The names of the reflection service. Their messages have the same encoding."""
ATTEMPTS: Final = 6
"""The number of attempts at a call that fails; one that the server refuses unseen is sent more often."""
_Field = descriptor_pb2.FieldDescriptorProto
_File = descriptor_pb2.FileDescriptorProto
_Encoding: TypeAlias = descriptor_pb2.FeatureSet.MessageEncoding.ValueType

# Groups of types that are interchangeable because they have the same wire format.
_COMPATIBLE_TYPES: Final = (
    {
        _Field.TYPE_INT32,
        _Field.TYPE_INT64,
        _Field.TYPE_UINT32,
        _Field.TYPE_UINT64,
        _Field.TYPE_BOOL,
        _Field.TYPE_ENUM,
    },
    {_Field.TYPE_STRING, _Field.TYPE_BYTES},
    {_Field.TYPE_SINT32, _Field.TYPE_SINT64},
    {_Field.TYPE_FIXED32, _Field.TYPE_SFIXED32},
    {_Field.TYPE_FIXED64, _Field.TYPE_SFIXED64},
)


class Types:
    """The messages, enums and services of some files, by full name."""

    def __init__(self, files: Iterable[_File]) -> None:
        self.messages: dict[str, descriptor_pb2.DescriptorProto] = {}
        self.enums: dict[str, descriptor_pb2.EnumDescriptorProto] = {}
        self.services: dict[str, descriptor_pb2.ServiceDescriptorProto] = {}
        self._encodings: dict[str, _Encoding] = {}
        """The encoding of message fields by message, unless the field has another one: a feature of editions."""
        for file in files:
            scope = f".{file.package}" if file.package else ""
            self._add(scope, file.message_type, file.enum_type, file.options.features.message_encoding)
            self.services |= {f"{scope}.{service.name}": service for service in file.service}

    def _add(
        self,
        scope: str,
        messages: Iterable[descriptor_pb2.DescriptorProto],
        enums: Iterable[descriptor_pb2.EnumDescriptorProto],
        encoding: _Encoding,
    ) -> None:
        self.enums |= {f"{scope}.{enum.name}": enum for enum in enums}
        for message in messages:
            name = f"{scope}.{message.name}"
            self.messages[name] = message
            self._encodings[name] = message.options.features.message_encoding or encoding
            self._add(name, message.nested_type, message.enum_type, self._encodings[name])

    def delimited(self, message: str, field: _Field) -> bool:
        """Returns whether a message field is encoded like a group. Map entries never are."""
        entry = self.messages.get(field.type_name)
        if field.type != _Field.TYPE_MESSAGE or (entry is not None and entry.options.map_entry):
            return False
        encoding = field.options.features.message_encoding or self._encodings.get(message)
        return encoding == descriptor_pb2.FeatureSet.DELIMITED


async def _ask(client: Client, service: str, **question: str) -> reflection_pb2.ServerReflectionResponse | None:
    """Returns a reflection service's response to one question; an empty one if it ends without, None if it is missing.

    A call that fails is sent again, for longer if the server refused it unseen because of too many concurrent ones.
    Raises NoAnswer if no attempt is answered, and DecodeError if the response cannot be decoded.
    """
    delays = iter(INSISTENT_RETRY_DELAYS)
    for attempt in itertools.count():
        call = _open(client, service, reflection_pb2.ServerReflectionRequest(**question))
        try:
            data = await call.read()
            return reflection_pb2.ServerReflectionResponse.FromString(b"" if data is grpc.aio.EOF else data)
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
        finally:
            call.cancel()
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return None
        again = details.startswith(REFUSED_STREAM) or attempt < ATTEMPTS - 1
        delay = next(delays, None) if again and code is not grpc.StatusCode.DEADLINE_EXCEEDED else None
        if delay is None:
            raise NoAnswer(f"reflection ended with {code.name}: {details}")
        await asyncio.sleep(delay)
    raise AssertionError("the loop above has no end")


def _open(client: Client, service: str, request: reflection_pb2.ServerReflectionRequest) -> Any:
    """Starts a call with one request, whose responses are bytes.

    The service takes a stream of requests. gRPC loses the status of a call that ends during a write of its own, so the
    request goes with the start of the call.
    """
    method: Any = client.channel.unary_stream(
        f"/{service}/ServerReflectionInfo", request_serializer=lambda request: request.SerializeToString()
    )
    return method(request, timeout=client.rpc_timeout, metadata=client.target.headers or None)


async def lists_services(client: Client, service: str) -> bool:
    """Returns whether a reflection service lists the target's services (WIR-4)."""
    try:
        answer = await _ask(client, service, list_services="")
    except (NoAnswer, DecodeError):
        return False
    return answer is not None and answer.HasField("list_services_response")


async def fetch_descriptors(client: Client) -> dict[str, list[_File]]:
    """Returns the files in which the target describes the service, by each reflection service that it has.

    A reflection service that does not know the service is left out. Raises NoAnswer if no reflection service is known
    to answer and one fails at every attempt, and Violation if a response is not a valid descriptor.
    """
    described: dict[str, list[_File]] = {}
    failure: NoAnswer | None = None
    for service in REFLECTION_SERVICES:
        try:
            files = await _fetch_files(client, service)
        except NoAnswer as error:
            failure = error
            continue
        except DecodeError:
            raise Violation("descriptors of the service", "bytes that are not a descriptor") from None
        if files:
            described[service] = files
    if failure is not None and not described:
        raise failure
    return described


async def _fetch_files(client: Client, service: str) -> list[_File]:
    """Returns the files that describe the service; none if the reflection service is missing or does not know it."""
    files: dict[str, _File] = {}
    wanted = [{"file_containing_symbol": SERVICE}]
    requested: set[str] = set()
    while wanted:
        answer = await _ask(client, service, **wanted.pop())
        if answer is None:
            return []  # perhaps of another server behind a load balancer: some of the files show nothing
        if not answer.HasField("file_descriptor_response"):
            break
        for raw in answer.file_descriptor_response.file_descriptor_proto:
            file = _File.FromString(raw)
            files[file.name] = file
        needed = {name for file in files.values() for name in file.dependency} - files.keys() - requested
        requested |= needed
        wanted += [{"file_by_filename": name} for name in needed]
    return list(files.values())


def serving_status(answer: Any) -> str:
    """Returns the status in a HealthCheckResponse, by its name if it is a known one."""
    from grpc_health.v1 import health_pb2

    names = health_pb2.HealthCheckResponse.ServingStatus
    return str(names.Name(answer.status)) if answer.status in names.values() else f"status {answer.status}"


def differences(files: Iterable[_File]) -> list[str]:
    """Returns the differences that make these files wire-incompatible with the contract. Additions are compatible."""
    own = _File()
    pb.DESCRIPTOR.CopyToProto(own)
    ours, theirs = Types([own]), Types(files)
    service = theirs.services.get(f".{SERVICE}")
    if service is None:
        return [f"no service {SERVICE}"]
    found = {method.name: method for method in service.method}
    seen: set[tuple[str, str]] = set()
    result: list[str] = []
    for method in ours.services[f".{SERVICE}"].method:
        other = found.get(method.name)
        if other is None:
            result.append(f"no method {method.name}")
        elif other.client_streaming or other.server_streaming:
            result.append(f"{method.name} streams")
        else:
            result += _message(ours, theirs, method.input_type, other.input_type, seen)
            result += _message(ours, theirs, method.output_type, other.output_type, seen)
    return result


def _message(ours: Types, theirs: Types, name: str, other: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    if (name, other) in seen:
        return
    seen.add((name, other))
    message = theirs.messages.get(other)
    if message is None:
        yield f"{other} is not described"
        return
    fields = {field.number: field for field in message.field}
    for field in ours.messages[name].field:
        where = f"{name.rpartition('.')[2]}.{field.name}"
        if field.number in fields and theirs.delimited(other, fields[field.number]):
            yield f"{where}: length-prefixed and delimited encoding"
        yield from _field(ours, theirs, where, field, fields, seen)


def _field(
    ours: Types, theirs: Types, where: str, field: _Field, fields: dict[int, _Field], seen: set[tuple[str, str]]
) -> Iterator[str]:
    other = fields.get(field.number)
    repeated = _Field.LABEL_REPEATED
    if other is None:
        yield f"{where}: no field {field.number}"
    elif (field.label == repeated) != (other.label == repeated):
        yield f"{where}: only one of the two is repeated"
    elif field.type != other.type and not any({field.type, other.type} <= group for group in _COMPATIBLE_TYPES):
        yield f"{where}: {_Field.Type.Name(field.type)[5:]} and {_Field.Type.Name(other.type)[5:]}"
    elif field.type == _Field.TYPE_MESSAGE:
        yield from _message(ours, theirs, field.type_name, other.type_name, seen)
    elif field.type == other.type == _Field.TYPE_ENUM:
        described = theirs.enums.get(other.type_name)
        numbers = {value.number for value in described.value} if described is not None else set[int]()
        missing = [v.name for v in ours.enums[field.type_name].value if v.number not in numbers]
        if missing:
            yield f"{where}: no {', '.join(missing)}"
