"""Strategies for TOML with wrong values, syntax errors or damaged bytes."""

from __future__ import annotations

from datetime import date, datetime, time

from hypothesis import strategies as st

from tests.fuzz.search import ANY, near

DAYS = st.dates(min_value=date(1, 1, 1)) | st.datetimes() | st.times()
SCALARS = (
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=12)
    | DAYS
    | st.sampled_from(["FEN-3a", "5m", "127.0.0.1:9000", "a=b", "shard", "2031-12-31", "1:0123456789ab", "\0"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc-", max_size=4), inner, max_size=2),
    max_leaves=5,
)
ENDLESS = st.sampled_from(["a = " + "[" * 5000, "a = " + "{b=" * 2000, "[" + "a." * 5000 + "b]", "a = " + "1" * 5000])


def quoted(text: str) -> str:
    """Returns the text as a basic TOML string."""
    return '"' + "".join(f"\\U{ord(c):08x}" if c in '"\\' or not c.isprintable() else c for c in text) + '"'


def written(value: object) -> str:
    """Returns the value in TOML."""
    match value:
        case bool():
            return str(value).lower()
        case datetime() | date() | time():
            return value.isoformat()
        case str():
            return quoted(value)
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{quoted(key)} = {written(one)}" for key, one in value.items()) + "}"
        case _:
            return str(value)


def damaged(text: str) -> st.SearchStrategy[bytes]:
    """Returns a strategy for bytes: a damaged form of this text, or arbitrary bytes."""
    return (
        near(text).map(lambda changed: changed.encode("utf-8", "surrogatepass"))
        | st.binary(max_size=40)
        | st.text(ANY, max_size=40).map(lambda any_text: any_text.encode("utf-8", "surrogatepass"))
        | ENDLESS.map(str.encode)
    )
