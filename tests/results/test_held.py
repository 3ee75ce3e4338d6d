"""The line about long-lived state: how long it was held, and what could not be."""

from __future__ import annotations

from conformance.results.held import CURSOR, MACHINES, MARKS, METADATA, OPERATIONS, TITLES, held_text


def test_each_kind_is_named_with_its_time() -> None:
    assert held_text({MACHINES: 1.26, MARKS: 3.0}, hold=0.0) == "IDLE and CONFIGURED machine 1.3 s, marks 3.0 s"


def test_with_hold_a_kind_that_was_not_held_is_named_too() -> None:
    held = {kind: 10.0 for kind in TITLES if kind not in (METADATA, CURSOR)}
    assert held_text(held, hold=10.0).endswith(", marks 10.0 s; not observed: metadata, first cursor")
    assert held_text({}, hold=5.0) == f"not observed: {', '.join(TITLES.values())}"


def test_a_run_that_held_nothing_and_was_not_asked_to_says_nothing() -> None:
    assert held_text({}, hold=0.0) == ""


def test_a_kind_of_a_newer_release_is_shown_by_its_name() -> None:
    assert held_text({"leases": 2.0, OPERATIONS: 1.0}, hold=0.0) == "leases 2.0 s, operation ids 1.0 s"
