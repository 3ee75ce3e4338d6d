from __future__ import annotations

from dataclasses import replace

from conformance.results.critical_path import critical_path, has_run, start_time
from conformance.results.result import Result, Status
from tests.values import a_call, a_result


def result_between(behaviour_id: str, started: float, ended: float, *machines: str) -> Result:
    return a_result(behaviour_id=behaviour_id, started=started, seconds=ended - started, machines=machines)


def ids(*results: Result) -> list[str]:
    return [result.id for result in critical_path(results)]


def test_the_path_follows_shared_machines_back_from_the_last_result() -> None:
    first = result_between("TST-1a", 0.0, 1.0, "m1")
    second = result_between("TST-1b", 1.0, 2.0, "m1", "m2")
    third = result_between("TST-1c", 2.0, 5.0, "m2")
    aside = result_between("TST-1d", 0.0, 1.9, "m3")
    assert ids(third, aside, second, first) == ["TST-1a", "TST-1b", "TST-1c"]


def test_without_a_predecessor_on_its_machines_the_last_ended_result_is_next() -> None:
    assert ids(
        result_between("TST-1a", 0.0, 1.0, "m1"),
        result_between("TST-1b", 0.0, 2.0, "m2"),
        result_between("TST-1c", 3.0, 4.0, "m3"),
    ) == ["TST-1b", "TST-1c"]


def test_overlapping_results_are_not_on_the_path() -> None:
    assert ids(result_between("TST-1a", 0.0, 2.0, "m1"), result_between("TST-1b", 1.0, 3.0, "m1")) == ["TST-1b"]


def test_start_time_is_the_first_call_of_the_preparation() -> None:
    early = result_between("TST-1a", 0.0, 1.5, "m1")
    result = replace(result_between("TST-1b", 2.0, 3.0, "m1"), calls=(a_call(),))
    assert start_time(result) == 1.0
    assert ids(early, result) == ["TST-1b"]


def test_results_that_never_started_are_not_on_the_path() -> None:
    skipped = a_result(Status.SKIPPED, "TST-1a", reason="no tls")
    assert not has_run(skipped)
    assert ids(skipped) == []


def test_results_without_duration_end_the_path() -> None:
    at_once = [replace(result_between(f"TST-1{letter}", 1.0, 1.0, "m1"), calls=(a_call(),)) for letter in "ab"]
    assert len(critical_path(at_once)) == 2
