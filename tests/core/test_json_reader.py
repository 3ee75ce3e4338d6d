from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from conformance.core.json_reader import MAX_DEPTH, Malformed, NotJson, check_depth, decode, parse
from conformance.core.value_types import Count, FenceScope, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    fewest: Count = 0
    took: Seconds = 0.0


class Inner(Struct):
    size: Size
    scope: FenceScope | None
    names: tuple[str, ...] = ()


class Outer(Struct):
    inner: Inner
    sizes: tuple[Size, ...]
    by_name: dict[str, Size]


SIZE = {"fewest": 1, "took": 2}
WHOLE = {
    "inner": {"size": SIZE, "scope": "shard", "names": ["a"]},
    "sizes": [SIZE, {**SIZE, "new": {}}],
    "by_name": {"a": SIZE},
    "unknown": [None],
}


@pytest.mark.parametrize(
    "text", ["", "{", "nan", "[" * 10**5, '{"a":' * 10**5, "\ud800", "\ufeff1", "1 2", "01", b'"\xff"']
)
def test_text_that_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(NotJson, match="it is not "):
        parse(text)


@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "9" * 10**5, str(2**64 + 1), f"-{2**64 + 1}"],
)
def test_a_number_that_is_out_of_range_is_refused(number: str) -> None:
    with pytest.raises(Malformed, match=r"the number .* is out of range") as caught:
        parse(f'{{"a": [{number}]}}')
    assert not isinstance(caught.value, NotJson)
    assert len(str(caught.value)) < 80


def test_numbers_within_the_range_and_unpaired_surrogates_are_kept() -> None:
    numbers = [2**63, 2**64, -(2**64), 1.5e308, -0.0, 5e-324, 0]
    assert parse(str(numbers)) == numbers
    assert parse(b'{"a": "\\udcff", "a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert decode(parse(rb'"\udcff"'), str) == "\udcff"


def test_an_object_is_decoded_with_all_its_values() -> None:
    outer = decode(WHOLE, Outer)
    size = Size(fewest=1, took=2.0)
    assert outer.inner == Inner(size=size, scope="shard", names=("a",))
    assert (outer.sizes, outer.by_name) == ((size, size), {"a": size})


def changed(change: Callable[[Any], object]) -> Any:
    value = parse(str(WHOLE).replace("'", '"').replace("None", "null"))
    change(value)
    return value


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v: v.pop("sizes"), "place: object missing required field `sizes`"),
        (lambda v: v["inner"]["size"].pop("took"), "place.inner.size: object missing required field `took`"),
        (lambda v: v["sizes"][1].pop("took"), "place.sizes[1]: object missing required field `took`"),
        (lambda v: v["by_name"]["a"].pop("took"), "place.by_name.a: object missing required field `took`"),
        (lambda v: v["sizes"][1].update(took=-1), "place.sizes[1].took: expected `float` >= 0.0"),
        (lambda v: v["sizes"][1].update(took=True), "place.sizes[1].took: expected `float`, got `bool`"),
        (lambda v: v["sizes"][1].update(took=1.5e308), "place.sizes[1].took: expected `float` <= 1e+300"),
        (lambda v: v["sizes"][1].update(fewest=1.0), "place.sizes[1].fewest: expected `int`, got `float`"),
        (lambda v: v["sizes"][1].update(fewest=-1), "place.sizes[1].fewest: expected `int` >= 0"),
        (lambda v: v["inner"].update(names=[1]), "place.inner.names[0]: expected `str`, got `int`"),
        (lambda v: v["by_name"].update(b=[]), "place.by_name[...]: expected `object`, got `array`"),
        (lambda v: v.update(inner=None), "place.inner: expected `object`, got `null`"),
        (lambda v: v.update({"\ud800": 1}), "place: a key or a name has an unpaired surrogate"),
        (
            lambda v: v["inner"].update(scope="shard\n"),
            r"place.inner.scope: expected `str` matching regex '^(shard|shard-machine)\\Z'",
        ),
    ],
)
def test_an_error_names_its_place(change: Callable[[Any], object], why: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(changed(change), Outer, "place")
    assert str(caught.value) == why


def test_without_a_place_the_error_starts_with_the_key() -> None:
    for value, why in (([], "expected `object`, got `array`"), ({"inner": 1}, "inner: expected `object`, got `int`")):
        with pytest.raises(Malformed) as caught:
            decode(value, Outer)
        assert str(caught.value) == why


def test_a_field_of_a_struct_with_a_default_may_be_missing() -> None:
    assert decode({"size": SIZE, "scope": None}, Inner).names == ()


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_the_depth_of_free_form_json_is_limited() -> None:
    check_depth(nested(MAX_DEPTH), "sent")
    for value in (nested(MAX_DEPTH + 1), {"a": [[nested(MAX_DEPTH - 2)]]}):
        with pytest.raises(ValueError, match="`sent` is nested more than 8 levels deep"):
            check_depth(value, "sent")


def test_json_nested_too_deeply_for_python_is_refused() -> None:
    with pytest.raises(Malformed, match="place: nested too deeply"):
        decode(nested(5000), dict, "place")
