from __future__ import annotations

from typing import Any

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.rpc.decoding import (
    MIN_MACHINE_BYTES,
    UndecodableResponse,
    decode_error,
    deserializer,
    explain_limit,
    too_large,
)

LIMIT = 64 * MIN_MACHINE_BYTES
"""Bytes of 64 machines of minimum size."""


def read(data: bytes, kind: Any = pb.MachineList, *, limit: int = LIMIT) -> Any:
    return deserializer(kind, limit=limit)(data)


def machines(number: int, **fields: Any) -> bytes:
    return pb.MachineList(machines=[pb.Machine(**fields)] * number).SerializeToString()


@pytest.mark.parametrize("kind", [pb.MachineList, pb.Machine, pb.TransitionAck])
def test_a_message_is_decoded_without_an_error(kind: Any) -> None:
    assert read(b"", kind) == kind()
    assert decode_error(read(b"", kind)) == ""


@pytest.mark.parametrize("kind", [pb.MachineList, pb.Machine, pb.TransitionAck])
@pytest.mark.parametrize("data", [b"\xff\xfe\xfd", b"\x0a\x05abc", b"\x0a"])
def test_bytes_that_are_not_a_message_are_an_error_with_their_number(data: bytes, kind: Any) -> None:
    assert (
        decode_error(read(data, kind)) == f"the response ({len(data)} bytes) cannot be read as {kind.DESCRIPTOR.name}"
    )


def test_a_missing_message_is_an_error() -> None:
    assert decode_error(None) == "OK without a response message"


def test_each_machine_of_a_list_counts_for_a_minimum_of_bytes() -> None:
    assert len(read(machines(64)).machines) == 64
    assert read(machines(66)) == UndecodableResponse(too_large(LIMIT))
    assert read(machines(66), limit=66 * MIN_MACHINE_BYTES) == pb.MachineList.FromString(machines(66))


def test_a_list_of_ordinary_machines_is_limited_by_its_bytes_only() -> None:
    ordinary = machines(64, id="machine-1", instance_type="m6.large", zone="eu-west-1a", labels={"a": "b"})
    assert len(read(ordinary + b"\x12\x01r").machines) == 64


@pytest.mark.parametrize("field", [b"\x12\x00", b"\x0a\x00", b"\x7a\x00"])
def test_every_repeated_field_counts(field: bytes) -> None:
    assert read(field * 66) == UndecodableResponse(too_large(LIMIT))


@pytest.mark.parametrize("tail", [b"\x0a" + b"\x80" * 200, b"\x0a\xff\xff\xff\xff\xff\xff", b"\x08\x01" * 200, b"\x0a"])
def test_malformed_bytes_are_left_to_the_decoder(tail: bytes) -> None:
    kind = pb.MachineList
    try:
        wanted: Any = kind.FromString(machines(64) + tail)
    except Exception:
        wanted = UndecodableResponse(f"the response ({len(machines(64) + tail)} bytes) cannot be read as MachineList")
    assert read(machines(64) + tail) in (wanted, UndecodableResponse(too_large(LIMIT)))


def test_grpcs_message_for_the_limit_is_replaced() -> None:
    words = "Received message larger than max (9 vs. 4)"
    assert explain_limit(f"CLIENT: {words}", limit=2**20) == "the response is larger than 1 MiB (--max-answer)"
    assert explain_limit(f"SERVER: {words}", limit=2**20) == f"SERVER: {words}"


EXTRA = b"\x1a\x05later"
"""An additional field of a map entry: 3, bytes."""


def field(number: int, content: bytes) -> bytes:
    assert number < 16
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def newer_entry(key: str, value: str) -> bytes:
    return field(1, key.encode()) + field(2, value.encode()) + EXTRA


def newer_machine() -> bytes:
    """Returns a machine of a newer contract: each map has one entry with an additional field, and a plain one."""
    plain = pb.Machine(id="m-1", labels={"old": "1"}, shard_metadata={"old": "2"})
    plain.resources.resources["old"] = "3"
    return plain.SerializeToString() + b"".join(
        (
            *(field(number, newer_entry("new", "é")) for number in (10, 15)),
            *(field(number, field(1, newer_entry("new", "é"))) for number in (9, 13)),
        )
    )


def check_maps(machine: pb.Machine) -> None:
    assert dict(machine.labels) == {"old": "1", "new": "é"}
    assert dict(machine.shard_metadata) == {"old": "2", "new": "é"}
    assert dict(machine.resources.resources) == {"old": "3", "new": "é"}
    assert dict(machine.allocatable.resources) == {"new": "é"}


def test_map_entries_with_an_additional_field_are_not_lost() -> None:
    check_maps(read(newer_machine(), pb.Machine))
    check_maps(read(field(2, newer_machine()), pb.TransitionAck).machine)
    for machine in read(2 * field(1, newer_machine())).machines:
        check_maps(machine)


def test_an_unknown_field_with_the_number_of_a_map_in_another_message_is_ignored() -> None:
    assert read(field(15, b"other") + field(9, b"other"), pb.MachineList).machines == []


def test_a_map_entry_that_is_not_an_entry_is_not_decoded() -> None:
    bad = field(1, b"\xff") + field(2, b"v") + EXTRA
    assert isinstance(read(field(15, bad), pb.Machine), UndecodableResponse)
