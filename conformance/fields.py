"""JSON that somebody else may have written, read strictly: a value of the wrong type is named by its place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.json_reader import DEEPEST, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Fields:
    """A JSON object at a place in a file. What is asked for is there and has its type, or Malformed is raised."""

    def __init__(self, value: object, place: str = "") -> None:
        if not isinstance(value, dict):
            raise Malformed(f"{place or 'it'} is no object")
        self._value: dict[str, Any] = value
        self._place = place

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def _at(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def wrong(self, key: str, wanted: str) -> Malformed:
        """What to raise where `key` is not `wanted`."""
        return Malformed(f"{self._at(key)} is not {wanted}" if key in self._value else f"{self._at(key)} is missing")

    def text(self, key: str) -> str:
        """A string."""
        value = self._value.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def text_or_null(self, key: str) -> str | None:
        """A string, or null."""
        return None if key in self._value and self._value[key] is None else self.text(key)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._value.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def integer(self, key: str) -> int:
        """A whole number, of at most 64 bits like all that the wire and the kit count in."""
        value = self._value.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 2**64:
            raise self.wrong(key, "a whole number")
        return value

    def count(self, key: str) -> int:
        """A whole number from 0 on."""
        if (value := self.integer(key)) < 0:
            raise self.wrong(key, "a count")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._value.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.wrong(key, "a number that can be told")
        return number

    def number_or_null(self, key: str) -> float | None:
        """A finite number, or null."""
        return None if key in self._value and self._value[key] is None else self.number(key)

    def seconds(self, key: str) -> float:
        """A finite number from 0 on."""
        if (value := self.number(key)) < 0:
            raise self.wrong(key, "a number of seconds")
        return value

    def named(self, key: str, of: Callable[[str], T], wanted: str) -> T:
        """What a string stands for, `of` raising KeyError or ValueError where it stands for nothing."""
        text = self.text(key)
        try:
            return of(text)
        except (KeyError, ValueError):
            raise self.wrong(key, wanted) from None

    def _list(self, key: str) -> list[Any]:
        value = self._value.get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "a list of strings")
        return tuple(values)

    def indices(self, key: str, most: int) -> tuple[int, ...]:
        """A list of numbers that count something of which there are `most`, from 0 on."""
        values = self._list(key)
        if not all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < most for value in values):
            raise self.wrong(key, f"a list of numbers below {most}")
        return tuple(values)

    def objects(self, key: str) -> tuple[Fields, ...]:
        """A list of objects."""
        return tuple(Fields(one, f"{self._at(key)}[{number}]") for number, one in enumerate(self._list(key)))

    def mapping(self, key: str, of: Callable[[Fields, str], T]) -> dict[str, T]:
        """An object as a map; `of` reads the value of each key."""
        fields = self.object(key)
        return {name: of(fields, name) for name in fields._value}

    def object(self, key: str) -> Fields:
        """An object within."""
        if not isinstance(self._value.get(key), dict):
            raise self.wrong(key, "an object")
        return Fields(self._value[key], self._at(key))

    def object_or_null(self, key: str) -> Fields | None:
        """An object within, or null."""
        return None if key in self._value and self._value[key] is None else self.object(key)

    def free(self, key: str) -> dict[str, Any]:
        """An object that may hold whatever JSON can, though not without end."""
        self.object(key)
        value: dict[str, Any] = self._value[key]
        _measure(value, self._at(key), DEEPEST)
        return value


def _measure(value: object, place: str, left: int) -> None:
    if left == 0:
        raise Malformed(f"{place} is too deep")
    match value:
        case dict():
            for one in value.values():
                _measure(one, place, left - 1)
        case list():
            for one in value:
                _measure(one, place, left - 1)
        case float() if not math.isfinite(value):
            raise Malformed(f"{place} holds a number that cannot be told")
        case int() if abs(value) > 2**64:
            raise Malformed(f"{place} holds a number that cannot be told")
        case _:
            pass
