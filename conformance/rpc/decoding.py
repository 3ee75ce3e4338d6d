"""What came back on the wire -> a message, or why there is none; of no more bytes and machines than agreed.

A target that is judged is unfinished by definition. So nothing that it sends is taken on trust: bytes that are no
message end a call in words, and an answer that would not fit into our memory is not taken in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf.message import DecodeError

from conformance.core.sizes import show_size

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_MAX_ANSWER_BYTES: Final = 64 * 2**20
"""Bytes that one answer may have, unless more are asked for: a List of 200,000 ordinary machines."""
MIN_MACHINE_BYTES: Final = 256
"""Bytes that each machine of a List counts for at least, as it takes up so many here, however short it was."""

_OVER_LIMIT: Final = ("CLIENT: Received message larger than max", "Decompressed message larger than max")
"""gRPC's own words where an answer is over our limit, as it comes or unpacked. Packed requests are never sent."""


@dataclass(frozen=True, slots=True)
class UndecodableResponse:
    """What stands for an answer that is no message."""

    why: str


def deserializer(kind: Any, *, limit: int) -> Callable[[bytes], Any]:
    """Bytes -> a message of this kind, or Unread. Never raises, as nobody could tell then whose fault it was."""

    def read(data: bytes) -> Any:
        if kind is pb.MachineList and _weighs(data, limit):
            return UndecodableResponse(too_large(limit))
        try:
            return kind.FromString(data)
        except DecodeError:
            return UndecodableResponse(f"{len(data)} bytes came that cannot be read as {kind.DESCRIPTOR.name}")

    return read


def decode_error(answer: Any) -> str:
    """Why what a call was answered OK with is no answer; empty where it is one."""
    match answer:
        case UndecodableResponse(why):
            return why
        case None:
            return "OK came without a message"
        case _:
            return ""


def too_large(limit: int) -> str:
    """What is said of an answer over the limit."""
    return f"more came than {show_size(limit)} (--max-answer)"


def explain_limit(details: str, *, limit: int) -> str:
    """GRPC's details of a failed call, where they tell of a limit of ours in its own terms."""
    return too_large(limit) if any(words in details for words in _OVER_LIMIT) else details


def _weighs(data: bytes, limit: int) -> bool:
    """Whether a List of so many machines is over the limit, though its bytes are not."""
    most, at, fields = limit // MIN_MACHINE_BYTES + 1, 0, 0  # machines, and a revision; each has two bytes at least
    while len(data) > 2 * most and at < len(data) and fields <= most and data[at] & 7 == _LENGTH_DELIMITED:
        at, fields = _after(data, at + 1), fields + 1
    return fields > most


_LENGTH_DELIMITED: Final = 2


def _after(data: bytes, at: int) -> int:
    """Where the field ends whose length stands `at`, or where the message does."""
    length = 0
    for shift in range(0, 35, 7):
        octet = data[at + shift // 7] if at + shift // 7 < len(data) else 0
        length |= (octet & 127) << shift
        if octet < 128:
            return at + shift // 7 + 1 + length
    return len(data)
