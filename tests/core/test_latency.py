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


def test_calls_are_grouped_by_rpc_in_the_contracts_order() -> None:
    calls = [a_call("List"), a_call("Create"), a_call("Get")]
    latencies = call_latency.by_rpc(a_report(a_result(calls=tuple(calls))))
    assert list(latencies) == ["Create", "Get", "List"]
    assert latencies["Get"] == latency.Latencies(count=1, p50=0.25, p90=0.25, p99=0.25, max=0.25)


def test_calls_of_all_behaviours_count() -> None:
    slow = replace(a_call("Get"), ended=11.0)
    report = a_report(a_result(calls=(a_call("Get"),) * 9), a_result(behaviour_id="TST-2a", calls=(slow,)))
    assert call_latency.by_rpc(report)["Get"] == latency.Latencies(count=10, p50=0.25, p90=0.25, p99=10.0, max=10.0)


def test_unanswered_calls_are_not_counted() -> None:
    assert call_latency.by_rpc(a_report(a_result(calls=(a_call("Get", answered=False),)))) == {}


def test_a_method_outside_the_contract_is_not_counted() -> None:
    assert call_latency.by_rpc(a_report(a_result(calls=(a_call("/bigfleet.v9.CapacityProvider/List"),)))) == {}


@pytest.mark.parametrize(("percent", "value"), [(1, 1.0), (50, 50.0), (90, 90.0), (99, 99.0), (100, 100.0)])
def test_a_percentile_is_a_measured_duration(percent: float, value: float) -> None:
    assert latency.percentile([float(n) for n in range(1, 101)], percent) == value


@given(st.lists(SECONDS, min_size=1).map(sorted))
def test_percentiles_rise_and_the_maximum_is_the_longest(taken: list[float]) -> None:
    latencies = latency.summary(taken)
    assert latencies.p50 <= latencies.p90 <= latencies.p99 <= latencies.max == max(taken)


@given(st.lists(SECONDS, min_size=1).map(sorted))
def test_a_histogram_counts_each_call_once_in_adjacent_bins(taken: list[float]) -> None:
    bins = latency.histogram(taken, taken[0], taken[-1])
    assert sum(each.count for each in bins) == len(taken)
    assert all(left.high == right.low for left, right in itertools.pairwise(bins))
    assert all(each.low < each.high for each in bins)


def test_bins_are_1_2_5_and_span_the_requested_range() -> None:
    bins = latency.histogram([0.0015, 0.002, 0.0049, 0.03], 0.001, 0.03)
    assert [(each.low, each.high, each.count) for each in bins] == [
        (0.001, 0.002, 1),
        (0.002, 0.005, 2),
        (0.005, 0.01, 0),
        (0.01, 0.02, 0),
        (0.02, 0.05, 1),
    ]
