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
