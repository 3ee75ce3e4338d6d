from __future__ import annotations

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf import descriptor_pb2

from conformance.rpc import reflection

DELIMITED = descriptor_pb2.FeatureSet.DELIMITED
LENGTH_PREFIXED = descriptor_pb2.FeatureSet.LENGTH_PREFIXED


@pytest.fixture
def file() -> descriptor_pb2.FileDescriptorProto:
    """The contract's own file, written in an edition."""
    own = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(own)
    own.syntax, own.edition = "editions", descriptor_pb2.EDITION_2023
    return own


def machine_of_ack(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FieldDescriptorProto:
    (ack,) = (message for message in file.message_type if message.name == "TransitionAck")
    (field,) = (field for field in ack.field if field.name == "machine")
    return field


def message_fields(file: descriptor_pb2.FileDescriptorProto) -> list[str]:
    """Returns the names of the fields that hold a message, except maps."""
    return [
        f"{message.name}.{field.name}"
        for message in file.message_type
        for field in message.field
        if field.type == field.TYPE_MESSAGE and not field.type_name.endswith("Entry")
    ]


def test_the_same_file_in_an_edition_is_compatible(file: descriptor_pb2.FileDescriptorProto) -> None:
    assert reflection.differences([file]) == []


def test_a_delimited_field_is_not_compatible(file: descriptor_pb2.FileDescriptorProto) -> None:
    machine_of_ack(file).options.features.message_encoding = DELIMITED
    assert reflection.differences([file]) == ["TransitionAck.machine: length-prefixed and delimited encoding"]


def test_a_delimited_file_is_not_compatible_except_in_its_maps(file: descriptor_pb2.FileDescriptorProto) -> None:
    file.options.features.message_encoding = DELIMITED
    expected = [f"{name}: length-prefixed and delimited encoding" for name in message_fields(file)]
    assert sorted(reflection.differences([file])) == sorted(expected)


def test_a_field_overrides_the_encoding_of_its_file(file: descriptor_pb2.FileDescriptorProto) -> None:
    file.options.features.message_encoding = DELIMITED
    machine_of_ack(file).options.features.message_encoding = LENGTH_PREFIXED
    assert not any(each.startswith("TransitionAck.machine:") for each in reflection.differences([file]))


def test_a_group_is_not_compatible(file: descriptor_pb2.FileDescriptorProto) -> None:
    field = machine_of_ack(file)
    field.type = field.TYPE_GROUP
    assert reflection.differences([file]) == ["TransitionAck.machine: MESSAGE and GROUP"]
