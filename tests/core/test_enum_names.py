from __future__ import annotations

from google.protobuf import descriptor_pb2

from conformance.core.enum_names import RenamedValue, renamed_values


def encoded(*names: str, nested: bool = False) -> bytes:
    """Returns a descriptor set with an enum of these names; all have the number 1."""
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="p")
    enum = file.message_type.add(name="M").nested_type.add(name="N").enum_type.add() if nested else file.enum_type.add()
    enum.name = "E"
    for name in names:
        enum.value.add(name=name, number=1)
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()


def test_an_alias_before_the_released_name_is_found() -> None:
    (found,) = renamed_values(encoded("OLD"), encoded("NEW", "OLD"))
    message = 'Enum value "1" on enum "p.E" has the first name "NEW" instead of "OLD": JSON output uses the first name.'
    assert found == RenamedValue(file="a.proto", message=message, line=1, column=1, end_line=1, end_column=1)


def test_an_enum_in_a_message_is_compared_too() -> None:
    (found,) = renamed_values(encoded("OLD", nested=True), encoded("NEW", "OLD", nested=True))
    assert 'enum "p.M.N.E"' in found.message


def test_an_alias_behind_the_released_name_and_a_removed_name_are_not_found() -> None:
    assert renamed_values(encoded("OLD"), encoded("OLD", "NEW")) == ()
    assert renamed_values(encoded("OLD"), encoded("NEW")) == ()


def test_released_aliases_keep_their_order() -> None:
    assert renamed_values(encoded("A", "B"), encoded("A", "B", "C")) == ()
    assert len(renamed_values(encoded("A", "B"), encoded("B", "A"))) == 1
