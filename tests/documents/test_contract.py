from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bigfleet.v1alpha1 import provider_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor

DOCUMENT = Path(__file__).parents[2] / "docs/contract.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
FILE = provider_pb2.DESCRIPTOR
CLAUSE = re.compile(r'^- <a id="(?P<anchor>[^"]+)"></a>\*\*(?P<id>[A-Z]{3}-\d+)\*\* (?P<level>\w+) — ', re.MULTILINE)

AREAS = {
    "WIR": 6, "LIF": 12, "OPS": 6, "COD": 5, "FEN": 14, "MET": 4,
    "LST": 10, "SHP": 4, "FLT": 7, "DUR": 7, "SEC": 2, "ROL": 5, "HST": 2,
}  # fmt: skip
"""The areas in the order of the document, with their numbers of clauses."""

LESS_THAN_MUST = {
    "WIR-2": "SHOULD", "WIR-4": "SHOULD", "LIF-10": "SHOULD", "COD-4": "SHOULD", "FEN-14": "SHOULD",
    "LST-5": "MAY", "LST-9": "SHOULD", "LST-10": "SHOULD", "SHP-3": "SHOULD", "SEC-2": "MAY",
    "FLT-7": "SHOULD", "DUR-7": "SHOULD", "ROL-2": "SHOULD",
}  # fmt: skip


def rows(heading: str) -> list[tuple[str, ...]]:
    """Returns the rows of the table below `### heading`, without its header."""
    section = TEXT.split(f"\n### {heading}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def type_name(field: FieldDescriptor) -> str:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = (type_name(entry.fields_by_name[name]) for name in ("key", "value"))
        return f"map<{key}, {value}>"
    names = {field.TYPE_STRING: "string", field.TYPE_BYTES: "bytes", field.TYPE_DOUBLE: "double"}
    names |= {field.TYPE_INT32: "int32", field.TYPE_INT64: "int64"}
    named = entry or field.enum_type
    return f"{'repeated ' if field.is_repeated else ''}{named.name if named else names[field.type]}"


def test_every_rpc_is_named_with_its_messages() -> None:
    (service,) = FILE.services_by_name.values()
    assert f"`{service.full_name}`" in TEXT
    assert rows("RPCs") == [
        (method.name, method.input_type.name, method.output_type.name) for method in service.methods
    ]


def test_every_field_is_named_with_its_number_and_type() -> None:
    proto = FileDescriptorProto()
    FILE.CopyToProto(proto)
    expected = {
        (message.name, str(field.number), field.name, type_name(field))
        for message in FILE.message_types_by_name.values()
        for field in message.fields
    }
    expected |= {
        (message.name, str(number), "*reserved*", "")
        for message in proto.message_type
        for reserved in message.reserved_range
        for number in range(reserved.start, reserved.end)
    }
    documented = rows("Messages")
    assert set(documented) == expected
    assert len(documented) == len(expected)


def test_every_enum_value_is_named_with_its_number() -> None:
    assert rows("Enums") == [
        (enum.name, str(value.number), value.name) for enum in FILE.enum_types_by_name.values() for value in enum.values
    ]


def test_clauses_are_numbered_in_the_order_of_the_areas() -> None:
    ids = [match["id"] for match in CLAUSE.finditer(TEXT)]
    assert ids == [f"{area}-{number}" for area, last in AREAS.items() for number in range(1, last + 1)]


def test_a_clause_states_its_level() -> None:
    levels = {match["id"]: match["level"] for match in CLAUSE.finditer(TEXT)}
    assert set(levels.values()) <= {"MUST", "SHOULD", "MAY"}
    assert {clause: level for clause, level in levels.items() if level != "MUST"} == LESS_THAN_MUST


def test_a_clause_can_be_linked_to() -> None:
    assert all(match["anchor"] == match["id"].lower() for match in CLAUSE.finditer(TEXT))


def test_a_clause_that_is_cited_exists() -> None:
    clauses = {match["id"] for match in CLAUSE.finditer(TEXT)}
    pattern = rf"\b(?:{'|'.join(AREAS)})-\d+\b"
    proto = DOCUMENT.parent.parent / "proto/bigfleet/v1alpha1/provider.proto"
    assert set(re.findall(pattern, TEXT)) <= clauses
    assert set(re.findall(pattern, proto.read_text(encoding="utf-8"))) <= clauses


@pytest.mark.parametrize("area", AREAS)
def test_an_area_has_one_section(area: str) -> None:
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    assert len([section for section in sections if f"**{area}-" in section]) == 1


def test_the_sections_are_numbered_without_gaps() -> None:
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", TEXT, re.MULTILINE)]
    assert numbers[0] == 1
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
    assert len(numbers) == len(AREAS) + 1  # section 12 describes the caller and has no clauses
