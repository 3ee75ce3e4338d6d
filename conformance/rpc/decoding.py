"""Decodes response bytes into messages, within limits of bytes and machines.

The kit does not trust the responses of a target that is still under test: bytes that are not a message end the call
with an explanation, and a response that would not fit into memory is not decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from conformance.core.sizes import show_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DEFAULT_MAX_ANSWER_BYTES: Final = 64 * 2**20
"""The default of --max-answer, in bytes: a List of 200,000 ordinary machines."""
MIN_MACHINE_BYTES: Final = 256
"""Bytes that each machine of a List counts for at least: it takes this much memory however short its encoding is."""
MAX_METADATA_BYTES: Final = 4 * 2**20
"""The maximum size of a response's headers or trailers in bytes, which contain the error text. gRPC's own limit of
8 KiB is too small for a provider that repeats a long id in an error text: its answer would be lost at random."""

_METADATA_OVER_LIMIT: Final = "received metadata size exceeds"
"""gRPC's message if headers or trailers are over that limit."""
_LENGTH_DELIMITED: Final = 2
"""The wire type of strings, bytes and messages, map entries included."""


def _maps_of(kind: Any) -> dict[int, tuple[str, Any]]:
    """Returns the name and the entry type of each map field of a message type, by field number."""
    entries = {field.number: field for field in kind.DESCRIPTOR.fields if field.message_type is not None}
    return {
        number: (field.name, GetMessageClass(field.message_type))
        for number, field in entries.items()
        if field.message_type.GetOptions().map_entry
    }


_MACHINE_MAPS: Final = _maps_of(pb.Machine)
_RESOURCES_MAPS: Final = _maps_of(pb.Resources)

_OVER_LIMIT: Final = ("CLIENT: Received message larger than max", "Decompressed message larger than max")
"""gRPC's messages if a response is over the limit, as received or decompressed. The kit compresses no requests."""


@dataclass(frozen=True, slots=True)
class UndecodableResponse:
    """The result of decoding bytes that are not a message."""

    why: str


def deserializer(kind: Any, *, limit: int) -> Callable[[bytes], Any]:
    """Returns a function that decodes bytes into a message of this kind, or into UndecodableResponse.

    It never raises: from an error inside gRPC, the kit could not tell whether the provider caused it.
    """

    def read(data: bytes) -> Any:
        if kind is pb.MachineList and _has_too_many_machines(data, limit):
            return UndecodableResponse(too_large(limit))
        try:
            message = kind.FromString(data)
            for machine in _machines(message):
                _restore_map_entries(machine)
            return message
        except DecodeError:
            return UndecodableResponse(f"the response ({len(data)} bytes) cannot be read as {kind.DESCRIPTOR.name}")

    return read


def _machines(message: Any) -> Iterable[pb.Machine]:
    """Returns the machines of a response of the contract's RPCs; none for any other message."""
    match message:
        case pb.MachineList():
            return message.machines
        case pb.TransitionAck() if message.HasField("machine"):
            return (message.machine,)
        case pb.Machine():
            return (message,)
        case _:
            return ()


def _restore_map_entries(machine: pb.Machine) -> None:
    """Puts map entries with additional fields, as a newer contract may have, into the machine's maps.

    protobuf's C runtime stores such an entry with the unknown fields of the message, so that its key seems to be lost.
    """
    _restore_maps(machine, _MACHINE_MAPS)
    for name in ("resources", "allocatable"):
        if machine.HasField(name):
            _restore_maps(getattr(machine, name), _RESOURCES_MAPS)


def _restore_maps(message: Any, maps: Mapping[int, tuple[str, Any]]) -> None:
    unknown_fields: Any = UnknownFieldSet(message)  # the stubs do not know that it can be iterated
    for unknown in unknown_fields:
        if unknown.wire_type == _LENGTH_DELIMITED and unknown.field_number in maps:
            name, entry_kind = maps[unknown.field_number]
            entry = entry_kind.FromString(unknown.data)
            getattr(message, name)[entry.key] = entry.value


def decode_error(answer: Any) -> str:
    """Returns why the response of an OK call is unusable; empty if it is a message."""
    match answer:
        case UndecodableResponse(why):
            return why
        case None:
            return "OK without a response message"
        case _:
            return ""


def too_large(limit: int) -> str:
    """Returns the message for a response over the limit."""
    return f"the response is larger than {show_size(limit)} (--max-answer)"


def explain_limit(details: str, *, limit: int) -> str:
    """Returns the details of a failed call; if gRPC reports a size limit in them, the kit's own message instead."""
    if _METADATA_OVER_LIMIT in details:
        return f"the error text or the headers of the response are larger than {show_size(MAX_METADATA_BYTES)}"
    return too_large(limit) if any(words in details for words in _OVER_LIMIT) else details


def _has_too_many_machines(data: bytes, limit: int) -> bool:
    """Returns whether a List has too many machines for the limit, although its bytes are within it."""
    most, at, fields = limit // MIN_MACHINE_BYTES + 1, 0, 0  # machines and a revision, each of at least two bytes
    while len(data) > 2 * most and at < len(data) and fields <= most and data[at] & 7 == _LENGTH_DELIMITED:
        at, fields = _end_of_field(data, at + 1), fields + 1
    return fields > most


def _end_of_field(data: bytes, at: int) -> int:
    """Returns the end of the field whose length is encoded `at`, or the end of the message."""
    length = 0
    for shift in range(0, 35, 7):
        octet = data[at + shift // 7] if at + shift // 7 < len(data) else 0
        length |= (octet & 127) << shift
        if octet < 128:
            return at + shift // 7 + 1 + length
    return len(data)
