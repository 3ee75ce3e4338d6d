import random

import pytest

from fake_provider.latency import Latency, Span, parse_seconds
from fake_provider.machine import Verb


@pytest.mark.parametrize(
    ("text", "seconds"), [("200ms", 0.2), ("1s", 1.0), ("0", 0.0), ("1.5", 1.5), (".5s", 0.5), ("2m", 120.0)]
)
def test_a_single_duration_applies_to_every_verb(text: str, seconds: float) -> None:
    assert Latency.parse(text) == Latency.every(seconds)
    assert parse_seconds(text) == seconds


def test_verbs_that_are_not_named_take_no_time() -> None:
    latency = Latency.parse("create=1s..2s, drain=500ms")
    assert latency.create == Span(low=1.0, high=2.0)
    assert latency.drain == Span(low=0.5, high=0.5)
    assert latency.configure == latency.delete == Span()


def test_a_part_without_a_verb_applies_to_the_other_verbs() -> None:
    assert Latency.parse("create=2,1") == Latency.parse("1,create=2")
    assert Latency.parse("1,create=2").drain == Span(low=1.0, high=1.0)


def test_the_seed_decides_the_duration_in_a_range() -> None:
    latency = Latency.parse("100ms..300ms")
    drawn = [latency.draw(Verb.DRAIN, random.Random(7)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert 0.1 <= drawn[0] <= 0.3


@pytest.mark.parametrize(
    "text",
    ["", "x", "1h", "-1", "1s..", "..1s", "2s..1s", "reboot=1", "create=", "create=1,create=2", "1,2", "nan"],
)
def test_the_error_quotes_invalid_text(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        Latency.parse(text)
