from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conformance.fields import Fields
from conformance.json_reader import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE: dict[str, Any] = {
    "text": "a",
    "null": None,
    "flag": True,
    "integer": 7,
    "number": 1.5,
    "texts": ["a", "b"],
    "object": {"inner": {"x": "y"}},
    "objects": [{}, {"x": 1}],
    "indices": [0, 2],
}


def test_what_is_there_is_given_as_what_it_is() -> None:
    fields = Fields(WHOLE)
    assert (fields.text("text"), fields.text_or_null("null"), fields.text_or_null("text")) == ("a", None, "a")
    assert (fields.flag("flag"), fields.integer("integer"), fields.number("number")) == (True, 7, 1.5)
    assert (fields.count("integer"), fields.seconds("integer")) == (7, 7.0)
    assert (fields.texts("texts"), fields.indices("indices", 3)) == (("a", "b"), (0, 2))
    assert fields.object("object").mapping("inner", Fields.text) == {"x": "y"}
    assert fields.object_or_null("null") is None
    assert [bool(one) for one in fields.objects("objects")] == [False, True]
    assert fields.free("object") == {"inner": {"x": "y"}}
    assert fields.named("text", {"a": 1}.__getitem__, "a letter") == 1


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda f: f.text("nothing"), "place.nothing is missing"),
        (lambda f: f.text("null"), "place.null is not a string"),
        (lambda f: f.text_or_null("nothing"), "place.nothing is missing"),
        (lambda f: f.flag("integer"), "place.integer is not true or false"),
        (lambda f: f.integer("flag"), "place.flag is not a whole number"),
        (lambda f: f.number("flag"), "place.flag is not a number"),
        (lambda f: f.texts("objects"), "place.objects is not a list of strings"),
        (lambda f: f.texts("text"), "place.text is not a list"),
        (lambda f: f.indices("indices", 2), "place.indices is not a list of numbers below 2"),
        (lambda f: f.object("texts"), "place.texts is not an object"),
        (lambda f: f.objects("texts"), "place.texts[0] is no object"),
        (lambda f: f.object("object").mapping("inner", Fields.count), "place.object.inner.x is not a whole number"),
        (lambda f: f.named("text", {}.__getitem__, "a letter"), "place.text is not a letter"),
    ],
)
def test_what_is_not_there_or_of_another_type_is_named_by_its_place(ask: Callable[[Fields], object], why: str) -> None:
    with pytest.raises(Malformed) as caught:
        ask(Fields(WHOLE, "place"))
    assert str(caught.value) == why
