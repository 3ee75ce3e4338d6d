"""The values of `--fault`, and the statistics of injected faults."""

from __future__ import annotations

import pytest

from conformance.core.errors import UsageError
from conformance.core.json_reader import decode
from conformance.rpc.faults.spec import Fault, FaultKind, FaultStats, parse_fault, parse_faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("lost-answer", Fault(kind=FaultKind.LOST_ANSWER, text="lost-answer")),
        ("delay=20ms", Fault(kind=FaultKind.DELAY, low=0.02, high=0.02, text="delay=20ms")),
        ("delay=5ms..50ms", Fault(kind=FaultKind.DELAY, low=0.005, high=0.05, text="delay=5ms..50ms")),
        ("throttle=64kB", Fault(kind=FaultKind.THROTTLE, low=64e3, high=64e3, text="throttle=64kB")),
        ("throttle=1.5MB/s", Fault(kind=FaultKind.THROTTLE, low=1.5e6, high=1.5e6, text="throttle=1.5MB/s")),
        (" reset=5s ", Fault(kind=FaultKind.RESET, low=5.0, high=5.0, text="reset=5s")),
        ("half-open=1m", Fault(kind=FaultKind.HALF_OPEN, low=60.0, high=60.0, text="half-open=1m")),
        ("blackhole=500ms", Fault(kind=FaultKind.BLACKHOLE, low=0.5, high=0.5, text="blackhole=500ms")),
    ],
)
def test_a_fault_is_parsed(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown fault"),
        ("rain", "unknown fault"),
        ("LOST-ANSWER", "unknown fault"),
        ("lost-answer=3", "takes no value"),
        ("lost-answer=", "takes no value"),
        ("delay", "needs a value"),
        ("delay=", "needs a value"),
        ("delay=soon", "is not a duration"),
        ("delay=50ms..5ms", "is not a delay"),
        ("delay=..5ms", "is not a duration"),
        ("delay=5ms..", "is not a duration"),
        ("delay=1m", "is not a delay of at most 10 s"),
        ("throttle=64", "is not a rate of at least 1kB"),
        ("throttle=0kB", "is not a rate of at least 1kB"),
        ("throttle=-1kB", "is not a rate of at least 1kB"),
        ("throttle=9999999MB", "is not a rate of at least 1kB"),
        ("reset=0s", "is not a duration"),
        ("reset=1ms", "is shorter than 50 ms"),
        ("blackhole=1ms", "is shorter than 50 ms"),
    ],
)
def test_any_other_form_is_refused_in_one_line_with_a_hint(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_fault(text)
    assert message in refused.value.message
    assert "\n" not in str(refused.value)
    assert refused.value.hint


def test_a_kind_cannot_be_given_twice() -> None:
    with pytest.raises(UsageError, match="--fault delay is given twice"):
        parse_faults(["delay=1ms", "reset=1s", "delay=2ms"])


def test_the_effects_are_shown_in_two_lines() -> None:
    stats = FaultStats(
        faults=("lost-answer", "reset=5s"), did={"connections": 3, "resets": 2}, lost={"Create": 4}, again={"Get": 7}
    )
    assert stats.lines() == (
        "lost-answer · reset=5s",
        "3 connections; 2 resets; dropped responses: 4 Create; retried calls: 7 Get",
    )
    assert FaultStats(faults=("reset=5s",)).lines() == ("reset=5s", "no effect")


def test_statistics_are_decoded_from_json() -> None:
    stats = FaultStats(faults=("reset=5s",), did={"resets": 2}, lost={}, again={"Get": 7})
    record = {"faults": ["reset=5s"], "did": {"resets": 2}, "lost": {}, "again": {"Get": 7}}
    assert decode(record, FaultStats) == stats
