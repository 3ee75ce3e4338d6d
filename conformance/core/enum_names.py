"""Compares the first names of enum values in two descriptor sets: JSON output uses the first name of each number.

buf accepts an alias that is declared before the released name, because JSON input still accepts both names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RULE = "ENUM_VALUE_FIRST_NAME"

_MESSAGES, _FILE_ENUMS = 4, 5
"""Field numbers in a FileDescriptorProto, as source locations use them."""
_NESTED_MESSAGES, _MESSAGE_ENUMS = 3, 4
"""Field numbers in a DescriptorProto."""
_VALUES = 2
"""A field number in an EnumDescriptorProto."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenamedValue:
    """An enum value whose first name has changed. Lines and columns count from 1; 1 if they are unknown."""

    file: str
    message: str
    line: int
    column: int
    end_line: int
    end_column: int


def renamed_values(released: bytes, candidate: bytes) -> tuple[RenamedValue, ...]:
    """Returns the enum values whose released first name is still declared in `candidate`, but no longer first.

    Both are encoded FileDescriptorSets. Names that are no longer declared are buf's to report.
    """
    # Imported here because it is slow, and only `proto breaking` needs it.
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    before = {
        name: _first_names(enum)
        for file in FileDescriptorSet.FromString(released).file
        for name, _, enum in _enums(file)
    }
    renamed = []
    for file in FileDescriptorSet.FromString(candidate).file:
        for name, path, enum in _enums(file):
            now = _first_names(enum)
            declared = {(value.number, value.name) for value in enum.value}
            for number, first in before.get(name, {}).items():
                if (number, first) in declared and now[number] != first:
                    index = next(n for n, value in enumerate(enum.value) if value.number == number)
                    message = (
                        f'Enum value "{number}" on enum "{name}" has the first name "{now[number]}" instead of'
                        f' "{first}": JSON output uses the first name.'
                    )
                    line, column, end_line, end_column = _span(file, (*path, _VALUES, index))
                    renamed.append(
                        RenamedValue(
                            file=file.name,
                            message=message,
                            line=line,
                            column=column,
                            end_line=end_line,
                            end_column=end_column,
                        )
                    )
    return tuple(renamed)


def _first_names(enum: Any) -> dict[int, str]:
    names: dict[int, str] = {}
    for value in enum.value:
        names.setdefault(value.number, value.name)
    return names


def _enums(file: Any) -> Iterator[tuple[str, tuple[int, ...], Any]]:
    """Yields the full name, the source path and the descriptor of every enum in a file."""
    for index, enum in enumerate(file.enum_type):
        yield f"{file.package}.{enum.name}", (_FILE_ENUMS, index), enum
    for index, message in enumerate(file.message_type):
        yield from _nested_enums(f"{file.package}.{message.name}", (_MESSAGES, index), message)


def _nested_enums(scope: str, path: tuple[int, ...], message: Any) -> Iterator[tuple[str, tuple[int, ...], Any]]:
    for index, enum in enumerate(message.enum_type):
        yield f"{scope}.{enum.name}", (*path, _MESSAGE_ENUMS, index), enum
    for index, nested in enumerate(message.nested_type):
        yield from _nested_enums(f"{scope}.{nested.name}", (*path, _NESTED_MESSAGES, index), nested)


def _span(file: Any, path: Sequence[int]) -> tuple[int, int, int, int]:
    """Returns line, column, end line and end column of the declaration at `path`."""
    for location in file.source_code_info.location:
        if list(location.path) == list(path):
            start_line, start, *rest = location.span
            end_line, end = rest if len(rest) == 2 else (start_line, *rest)
            return start_line + 1, start + 1, end_line + 1, end + 1
    return 1, 1, 1, 1
