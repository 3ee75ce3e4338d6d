from __future__ import annotations

import pytest

from conformance.core.errors import BudgetSpent
from conformance.core.lifecycle import Verb
from conformance.results.bill import Bill, Meter


def created(meter: Meter, machine: str, operation: str, *, now: float = 0.0, price: float = 0.0) -> None:
    meter.reserve(machine)
    meter.answered(Verb.CREATE, machine, operation, now, price=price)


def test_nothing_costs_nothing() -> None:
    assert Meter().bill(100.0) == Bill()


def test_an_operation_is_counted_once_however_many_calls_were_answered_with_it() -> None:
    meter = Meter()
    created(meter, "m", "op-1")
    for verb, operation in ((Verb.CREATE, "op-1"), (Verb.CONFIGURE, "op-2"), (Verb.CONFIGURE, "op-2")):
        meter.answered(verb, "m", operation, 1.0, price=0.0)
    meter.answered(Verb.DRAIN, "m", "op-3", 1.0, price=0.0)
    meter.answered(Verb.DRAIN, "m", "op-4", 1.0, price=0.0)
    meter.answered(Verb.DELETE, "m", "op-5", 1.0, price=0.0)
    bill = meter.bill(1.0)
    assert (bill.create, bill.configure, bill.drain, bill.delete) == (1, 1, 2, 1)


def test_one_id_on_two_machines_or_for_two_verbs_is_two_operations() -> None:
    meter = Meter()
    created(meter, "m", "op-1")
    created(meter, "n", "op-1")
    meter.answered(Verb.DELETE, "n", "op-1", 1.0, price=0.0)
    assert (meter.bill(1.0).create, meter.bill(1.0).delete) == (2, 1)


def test_a_call_that_started_nothing_is_not_on_the_bill() -> None:
    meter = Meter()
    created(meter, "m", "")
    assert meter.bill(9.0) == Bill()


def test_a_machine_costs_from_its_create_until_it_is_gone() -> None:
    meter = Meter()
    created(meter, "m", "op-1", now=10.0, price=7.2)
    assert meter.bill(20.0).machine_seconds == 10.0
    meter.note_released("m", 40.0)
    bill = meter.bill(1000.0)
    assert bill.machine_seconds == 30.0
    assert bill.price == pytest.approx(30 / 3600 * 7.2)


def test_a_machine_goes_once_and_one_that_never_came_does_not_go() -> None:
    meter = Meter()
    created(meter, "m", "op-1", now=0.0)
    meter.note_released("m", 5.0)
    meter.note_released("m", 50.0)
    meter.note_released("stranger", 50.0)
    assert meter.bill(100.0).machine_seconds == 5.0
    assert meter.alive == 0


@pytest.mark.parametrize("price", [float("nan"), float("inf"), float("-inf")])
def test_a_price_that_is_no_number_does_not_spoil_the_bill(price: float) -> None:
    meter = Meter()
    created(meter, "m", "op-1", price=price)
    created(meter, "n", "op-2", price=3600.0)
    assert meter.bill(2.0).price == 2.0


def test_a_price_beyond_all_numbers_does_not_spoil_the_bill() -> None:
    meter = Meter()
    for name in ("m", "n"):
        created(meter, name, "op-1", price=1.7e308)
    assert meter.bill(10_000.0).price == 0.0


def test_the_peak_is_the_most_that_lived_at_once() -> None:
    meter = Meter()
    for number in range(3):
        created(meter, f"m{number}", f"op-{number}")
    meter.note_released("m0", 1.0)
    meter.note_released("m1", 1.0)
    created(meter, "m3", "op-3", now=2.0)
    assert (meter.bill(2.0).peak_machines, meter.alive) == (3, 2)


def test_one_create_too_many_is_refused_before_it_is_sent() -> None:
    meter = Meter(max_creates=2)
    created(meter, "m", "op-1")
    created(meter, "n", "op-2")
    with pytest.raises(BudgetSpent, match="--max-creates 2 is reached; raise it"):
        meter.reserve("o")


def test_creates_that_are_under_way_count_against_the_budget() -> None:
    meter = Meter(max_creates=1)
    meter.reserve("m")
    with pytest.raises(BudgetSpent):
        meter.reserve("n")


def test_the_same_create_again_is_not_one_more() -> None:
    meter = Meter(max_creates=1)
    meter.reserve("m")
    meter.reserve("m")
    meter.answered(Verb.CREATE, "m", "op-1", 0.0, price=0.0)
    meter.answered(Verb.CREATE, "m", "op-1", 0.0, price=0.0)
    assert meter.bill(0.0).create == 1


def test_a_create_that_was_refused_leaves_the_budget_as_it_was() -> None:
    meter = Meter(max_creates=1)
    created(meter, "m", "")
    created(meter, "n", "op-1")
    with pytest.raises(BudgetSpent):
        meter.reserve("o")


def test_without_a_budget_of_any_nothing_is_started() -> None:
    with pytest.raises(BudgetSpent):
        Meter(max_creates=0).reserve("m")


def test_without_a_limit_there_is_none() -> None:
    meter = Meter()
    for number in range(1000):
        created(meter, f"m{number}", f"op-{number}")
    assert meter.bill(0.0).create == 1000


def test_the_slowest_verb_is_told_by_its_median() -> None:
    meter = Meter()
    assert meter.slowest == 0.0
    for seconds in (1.0, 2.0, 300.0):
        meter.note_duration(Verb.CREATE, seconds)
    meter.note_duration(Verb.DRAIN, 5.0)
    assert (meter.median(Verb.CREATE), meter.median(Verb.DELETE), meter.slowest) == (2.0, 0.0, 5.0)
