from __future__ import annotations

import pytest

from conformance.core.errors import BudgetSpent
from conformance.core.lifecycle import Verb
from conformance.results.bill import Bill, Meter


def create(meter: Meter, machine: str, operation: str, *, now: float = 0.0, price: float = 0.0) -> None:
    meter.reserve(machine)
    meter.answered(Verb.CREATE, machine, operation, now, price=price)


def test_nothing_costs_nothing() -> None:
    assert Meter().bill(100.0) == Bill()


def test_an_operation_id_counts_once_for_any_number_of_calls() -> None:
    meter = Meter()
    create(meter, "m", "op-1")
    for verb, operation in ((Verb.CREATE, "op-1"), (Verb.CONFIGURE, "op-2"), (Verb.CONFIGURE, "op-2")):
        meter.answered(verb, "m", operation, 1.0, price=0.0)
    meter.answered(Verb.DRAIN, "m", "op-3", 1.0, price=0.0)
    meter.answered(Verb.DRAIN, "m", "op-4", 1.0, price=0.0)
    meter.answered(Verb.DELETE, "m", "op-5", 1.0, price=0.0)
    bill = meter.bill(1.0)
    assert (bill.create, bill.configure, bill.drain, bill.delete) == (1, 1, 2, 1)


def test_the_same_id_on_two_machines_or_for_two_verbs_counts_twice() -> None:
    meter = Meter()
    create(meter, "m", "op-1")
    create(meter, "n", "op-1")
    meter.answered(Verb.DELETE, "n", "op-1", 1.0, price=0.0)
    assert (meter.bill(1.0).create, meter.bill(1.0).delete) == (2, 1)


def test_a_machine_is_bound_once_a_configure_has_started() -> None:
    meter = Meter()
    create(meter, "m", "op-1")
    create(meter, "n", "op-2")
    meter.answered(Verb.CONFIGURE, "m", "op-3", 1.0, price=0.0)
    meter.answered(Verb.CONFIGURE, "n", "", 1.0, price=0.0)
    meter.answered(Verb.DELETE, "o", "op-4", 1.0, price=0.0)
    assert meter.bound == {"m"}
    assert meter.transitions == 4


def test_a_call_that_started_nothing_does_not_count() -> None:
    meter = Meter()
    create(meter, "m", "")
    assert meter.bill(9.0) == Bill()


def test_a_machine_costs_from_create_until_release() -> None:
    meter = Meter()
    create(meter, "m", "op-1", now=10.0, price=7.2)
    assert meter.bill(20.0).machine_seconds == 10.0
    meter.note_released("m", 40.0)
    bill = meter.bill(1000.0)
    assert bill.machine_seconds == 30.0
    assert bill.price == pytest.approx(30 / 3600 * 7.2)


def test_release_counts_once_and_only_for_known_machines() -> None:
    meter = Meter()
    create(meter, "m", "op-1", now=0.0)
    meter.note_released("m", 5.0)
    meter.note_released("m", 50.0)
    meter.note_released("stranger", 50.0)
    assert meter.bill(100.0).machine_seconds == 5.0
    assert meter.alive == 0


@pytest.mark.parametrize("price", [float("nan"), float("inf"), float("-inf")])
def test_a_price_that_is_not_finite_is_ignored(price: float) -> None:
    meter = Meter()
    create(meter, "m", "op-1", price=price)
    create(meter, "n", "op-2", price=3600.0)
    assert meter.bill(2.0).price == 2.0


def test_a_price_that_overflows_is_ignored() -> None:
    meter = Meter()
    for name in ("m", "n"):
        create(meter, name, "op-1", price=1.7e308)
    assert meter.bill(10_000.0).price == 0.0


def test_the_peak_is_the_maximum_of_live_machines() -> None:
    meter = Meter()
    for number in range(3):
        create(meter, f"m{number}", f"op-{number}")
    meter.note_released("m0", 1.0)
    meter.note_released("m1", 1.0)
    create(meter, "m3", "op-3", now=2.0)
    assert (meter.bill(2.0).peak_machines, meter.alive) == (3, 2)


def test_a_create_beyond_the_budget_is_refused_before_it_is_sent() -> None:
    meter = Meter(max_creates=2)
    create(meter, "m", "op-1")
    create(meter, "n", "op-2")
    with pytest.raises(BudgetSpent, match="--max-creates 2 is reached; raise it"):
        meter.reserve("o")


def test_pending_creates_count_for_the_budget() -> None:
    meter = Meter(max_creates=1)
    meter.reserve("m")
    with pytest.raises(BudgetSpent):
        meter.reserve("n")


def test_a_repeated_create_does_not_count_again() -> None:
    meter = Meter(max_creates=1)
    meter.reserve("m")
    meter.reserve("m")
    meter.answered(Verb.CREATE, "m", "op-1", 0.0, price=0.0)
    meter.answered(Verb.CREATE, "m", "op-1", 0.0, price=0.0)
    assert meter.bill(0.0).create == 1


def test_a_refused_create_does_not_use_the_budget() -> None:
    meter = Meter(max_creates=1)
    create(meter, "m", "")
    create(meter, "n", "op-1")
    with pytest.raises(BudgetSpent):
        meter.reserve("o")


def test_a_budget_of_zero_allows_no_create() -> None:
    with pytest.raises(BudgetSpent):
        Meter(max_creates=0).reserve("m")


def test_without_a_budget_all_creates_are_allowed() -> None:
    meter = Meter()
    for number in range(1000):
        create(meter, f"m{number}", f"op-{number}")
    assert meter.bill(0.0).create == 1000


def test_the_slowest_verb_has_the_longest_median() -> None:
    meter = Meter()
    assert meter.slowest == 0.0
    for seconds in (1.0, 2.0, 300.0):
        meter.note_duration(Verb.CREATE, seconds)
    meter.note_duration(Verb.DRAIN, 5.0)
    assert (meter.median(Verb.CREATE), meter.median(Verb.DELETE), meter.slowest) == (2.0, 0.0, 5.0)
