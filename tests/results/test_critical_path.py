from __future__ import annotations

from dataclasses import replace

from conformance.results.critical_path import critical_path, has_run, start_time
from conformance.results.result import Result, Status
from tests.values import a_call, a_result


def ran_from(behaviour_id: str, started: float, ended: float, *machines: str) -> Result:
    return a_result(behaviour_id=behaviour_id, started=started, seconds=ended - started, machines=machines)


def ids(*results: Result) -> list[str]:
    return [result.id for result in critical_path(results)]


def test_a_chain_goes_back_from_what_ended_last_over_the_machines_it_had() -> None:
    first = ran_from("TST-1a", 0.0, 1.0, "m1")
    second = ran_from("TST-1b", 1.0, 2.0, "m1", "m2")
    third = ran_from("TST-1c", 2.0, 5.0, "m2")
    aside = ran_from("TST-1d", 0.0, 1.9, "m3")
    assert ids(third, aside, second, first) == ["TST-1a", "TST-1b", "TST-1c"]


def test_where_nothing_was_on_its_machines_before_it_is_the_last_that_had_ended() -> None:
    assert ids(
        ran_from("TST-1a", 0.0, 1.0, "m1"), ran_from("TST-1b", 0.0, 2.0, "m2"), ran_from("TST-1c", 3.0, 4.0, "m3")
    ) == ["TST-1b", "TST-1c"]


def test_what_still_ran_when_it_began_was_not_waited_for() -> None:
    assert ids(ran_from("TST-1a", 0.0, 2.0, "m1"), ran_from("TST-1b", 1.0, 3.0, "m1")) == ["TST-1b"]


def test_a_behaviour_began_when_its_machines_were_made_ready() -> None:
    early = ran_from("TST-1a", 0.0, 1.5, "m1")
    result = replace(ran_from("TST-1b", 2.0, 3.0, "m1"), calls=(a_call(),))
    assert start_time(result) == 1.0
    assert ids(early, result) == ["TST-1b"]


def test_what_never_began_is_in_no_chain() -> None:
    skipped = a_result(Status.SKIPPED, "TST-1a", reason="no tls")
    assert not has_run(skipped)
    assert ids(skipped) == []


def test_behaviours_that_took_no_time_end_the_chain_all_the_same() -> None:
    at_once = [replace(ran_from(f"TST-1{letter}", 1.0, 1.0, "m1"), calls=(a_call(),)) for letter in "ab"]
    assert len(critical_path(at_once)) == 2
