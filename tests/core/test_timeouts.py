from __future__ import annotations

import pytest

from conformance.core.errors import UsageError
from conformance.core.lifecycle import State, Verb
from conformance.core.timeouts import DEFAULT_PATIENCE_S, Patience, parse_duration, parse_patience


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ("1.5s", 1.5),
        ("200ms", 0.2),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1m30s500ms", 90.5),
        (" 5M ", 300.0),
    ],
)
def test_a_duration_is_a_number_with_a_unit_and_seconds_without_one(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0",
        "0s",
        "-1",
        "-5m",
        "soon",
        "5 m",
        "5x",
        "5m3",
        "3 5",
        "m",
        "1e3",
        "nan",
        "inf",
        "1..5s",
        "9" * 12,
        "5m,",
    ],
)
def test_an_invalid_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration") as caught:
        parse_duration(text)
    assert caught.value.hint is not None
    assert "90s" in caught.value.hint


def test_one_duration_applies_to_every_verb() -> None:
    assert parse_patience("20m") == Patience(1200.0, 1200.0, 1200.0, 1200.0)


def test_omitted_verbs_keep_the_default() -> None:
    patience = parse_patience("create=20m, Drain=1h")
    assert patience == Patience(create=1200.0, configure=DEFAULT_PATIENCE_S, drain=3600.0, delete=DEFAULT_PATIENCE_S)
    assert [patience.for_verb(verb) for verb in Verb] == [1200.0, DEFAULT_PATIENCE_S, 3600.0, DEFAULT_PATIENCE_S]


@pytest.mark.parametrize("text", ["reboot=5m", "create=5m,,drain=5m", "=5m", "create=5m,5m"])
def test_patience_is_given_for_the_four_verbs_only(text: str) -> None:
    with pytest.raises(UsageError, match="is not a valid patience"):
        parse_patience(text)


@pytest.mark.parametrize("text", ["create=", "create=soon", "create=0"])
def test_a_verbs_patience_is_a_duration(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_patience(text)


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        (State.CREATING, 1.0),
        (State.CONFIGURING, 2.0),
        (State.DRAINING, 4.0),
        (State.DELETING, 3.0),
        (State.IDLE, 4.0),
        (State.UNSPECIFIED, 4.0),
    ],
)
def test_the_patience_for_a_transitional_state_is_its_verbs_and_for_any_other_the_longest(
    state: State, seconds: float
) -> None:
    assert Patience(create=1.0, configure=2.0, drain=4.0, delete=3.0).for_state(state) == seconds
