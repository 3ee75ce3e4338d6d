from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.core import latency
from conformance.results import call_latency
from tests.values import a_call, a_report, a_result

SECONDS = st.floats(0, 1e4, allow_nan=False)


def test_calls_are_told_by_rpc_in_the_contracts_order() -> None:
    calls = [a_call("List"), a_call("Create"), a_call("Get")]
    told = call_latency.by_rpc(a_report(a_result(calls=tuple(calls))))
    assert list(told) == ["Create", "Get", "List"]
    assert told["Get"] == latency.Latencies(count=1, p50=0.25, p90=0.25, p99=0.25, max=0.25)


def test_calls_of_all_behaviours_count() -> None:
    slow = replace(a_call("Get"), ended=11.0)
    report = a_report(a_result(calls=(a_call("Get"),) * 9), a_result(behaviour_id="TST-2a", calls=(slow,)))
    assert call_latency.by_rpc(report)["Get"] == latency.Latencies(count=10, p50=0.25, p90=0.25, p99=10.0, max=10.0)


def test_a_call_that_was_never_answered_says_nothing_of_the_provider() -> None:
    assert call_latency.by_rpc(a_report(a_result(calls=(a_call("Get", answered=False),)))) == {}


def test_a_method_that_the_contract_does_not_have_is_not_told() -> None:
    assert call_latency.by_rpc(a_report(a_result(calls=(a_call("/bigfleet.v9.CapacityProvider/List"),)))) == {}


@pytest.mark.parametrize(("percent", "value"), [(1, 1.0), (50, 50.0), (90, 90.0), (99, 99.0), (100, 100.0)])
def test_a_percentile_is_one_that_was_measured(percent: float, value: float) -> None:
    assert latency.percentile([float(n) for n in range(1, 101)], percent) == value


@given(st.lists(SECONDS, min_size=1).map(sorted))
def test_percentiles_rise_and_the_last_is_the_longest(taken: list[float]) -> None:
    told = latency.summary(taken)
    assert told.p50 <= told.p90 <= told.p99 <= told.max == max(taken)


@given(st.lists(SECONDS, min_size=1).map(sorted))
def test_a_histogram_has_each_call_once_in_bins_that_touch(taken: list[float]) -> None:
    bins = latency.histogram(taken, taken[0], taken[-1])
    assert sum(each.count for each in bins) == len(taken)
    assert all(left.high == right.low for left, right in itertools.pairwise(bins))
    assert all(each.low < each.high for each in bins)


def test_bins_are_1_2_5_and_span_what_was_asked_for() -> None:
    bins = latency.histogram([0.0015, 0.002, 0.0049, 0.03], 0.001, 0.03)
    assert [(each.low, each.high, each.count) for each in bins] == [
        (0.001, 0.002, 1),
        (0.002, 0.005, 2),
        (0.005, 0.01, 0),
        (0.01, 0.02, 0),
        (0.02, 0.05, 1),
    ]
