"""Reads JSON from files that may have been edited or truncated: strict types, limited numbers, one-line errors.

The standard library parses the text, because msgspec refuses unpaired surrogates. Paths that are not UTF-8 have some.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Final, TypeVar

import msgspec

MAX_DEPTH: Final = 8
"""Maximum levels of nesting in free-form JSON, so that it can be written again."""

_LARGEST: Final = 2**64

T = TypeVar("T")


class Malformed(ValueError):
    """The content does not have the expected form. The message says where and why."""


class NotJson(Malformed):
    """The content is not JSON at all, for example because the file was truncated."""


def parse(content: str | bytes) -> Any:
    """Returns the JSON value. Raises NotJson, or Malformed for a number that is out of range, NaN among them."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        return json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_number)
    except Malformed:
        raise
    except UnicodeDecodeError:
        raise NotJson("it is not text") from None
    except (ValueError, RecursionError) as error:
        raise NotJson("it is not JSON") from error


def _integer(text: str) -> int:
    # The length comes first: Python refuses to convert thousands of digits.
    if len(text) > 21 or abs(int(text)) > _LARGEST:
        raise Malformed(f"the number {text[:24]} is out of range")
    return int(text)


def _number(text: str) -> float:
    if not math.isfinite(float(text)):
        raise Malformed(f"the number {text[:24]} is out of range")
    return float(text)


def decode(value: Any, kind: type[T], place: str = "") -> T:
    """Returns parsed JSON as `kind`: a frozen dataclass, a msgspec Struct, or any other type that msgspec knows.

    Unknown keys are ignored; a missing key is an error, even if `kind` has a default. Raises Malformed with the place
    of the error, which starts with `place`.
    """
    try:
        decoded = msgspec.convert(value, kind)
        _demand_keys(value, decoded, place)
    except msgspec.ValidationError as error:
        what, at, path = str(error).rpartition(" - at `$")
        what, place = (what, (place + path.removesuffix("`")).lstrip(".")) if at else (path, place)
        raise Malformed(_at(place, what[:1].lower() + what[1:])) from None
    except UnicodeEncodeError:
        raise Malformed(_at(place, "a key or a name has an unpaired surrogate")) from None
    except RecursionError:
        raise Malformed(_at(place, "nested too deeply")) from None
    return decoded


def _at(place: str, what: str) -> str:
    return f"{place}: {what}" if place else what


def _demand_keys(value: Any, decoded: object, place: str) -> None:
    """Raises Malformed if a dataclass has a default because its key is missing.

    Lists of Structs are not searched: a Struct itself defines what may be missing, and a record has thousands of them.
    """
    inner: dict[Any, Any] = {}
    if dataclasses.is_dataclass(decoded):
        inner = {field.name: getattr(decoded, field.name) for field in dataclasses.fields(decoded)}
        for name in inner:
            if name not in value:
                raise Malformed(_at(place, f"object missing required field `{name}`"))
    elif isinstance(decoded, msgspec.Struct):
        inner = {name: getattr(decoded, name) for name in decoded.__struct_fields__ if name in value}
    elif isinstance(decoded, dict):
        inner = decoded
    elif isinstance(decoded, tuple) and decoded and not isinstance(decoded[0], msgspec.Struct):
        inner = dict(enumerate(decoded))
    for key, one in inner.items():
        if not isinstance(one, str | int | float | None):
            _demand_keys(value[key], one, f"{place}[{key}]" if isinstance(key, int) else f"{place}.{key}".lstrip("."))


def check_depth(value: object, what: str, left: int = MAX_DEPTH) -> None:
    """Raises ValueError if free-form JSON is nested too deeply to be written again; `what` names it."""
    if not left:
        raise ValueError(f"`{what}` is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            check_depth(one, what, left - 1)
