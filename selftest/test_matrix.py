"""The rules for the findings of a mutant, and the kill matrix."""

from __future__ import annotations

import json

import selftest.mutants  # noqa: F401  # registers them
from conformance.results.result import Status
from selftest import matrix
from selftest.matrix import Row
from selftest.mutant import MUTANTS, Mutant
from tests.values import a_report, a_result

MUTANT = Mutant(name="M", story="Forgets.", clause="FEN-1", found_by=("FEN-1a", "FEN-2a"), also=("LIF-1a",))


def a_row(*causes: tuple[str, tuple[str, ...]]) -> Row:
    return Row(mutant="M", clause="FEN-1", causes=causes, undecided=())


def test_a_row_names_causes_with_their_consequences_and_undecided_behaviours() -> None:
    report = a_report(
        a_result(Status.FAILED, "FEN-2a", rests_on=["FEN-1a"]),
        a_result(Status.FAILED, "FEN-1a"),
        a_result(Status.ERROR, "LIF-1a"),
        a_result(Status.PASSED, "LIF-2a"),
    )
    assert matrix.row(MUTANT, report) == Row(
        mutant="M", clause="FEN-1", causes=(("FEN-1a", ("FEN-2a",)),), undecided=("LIF-1a",)
    )


def test_a_declared_behaviour_may_find_the_mutant_as_a_consequence() -> None:
    assert matrix.faults(MUTANT, a_row(("FEN-1a", ("FEN-2a",)))) == []


def test_a_declared_behaviour_that_does_not_find_the_mutant_is_a_fault() -> None:
    assert matrix.faults(MUTANT, a_row(("FEN-1a", ()))) == ["FEN-2a does not find it"]


def test_an_undeclared_cause_of_another_clause_is_a_fault() -> None:
    row = a_row(("FEN-1a", ("FEN-2a",)), ("FEN-1b", ()), ("LIF-1a", ()), ("FEN-3a", ("FEN-3b",)))
    assert matrix.faults(MUTANT, row) == ["FEN-3a finds it as a cause, but is not declared; consequences: 1"]


def test_a_mutant_must_be_found_by_the_clause_that_it_breaks() -> None:
    other = Mutant(name="M", story="Forgets.", clause="FEN-3", found_by=("FEN-1a",))
    assert matrix.faults(other, a_row(("FEN-1a", ()))) == ["found_by has no behaviour of FEN-3"]


def test_only_the_first_cause_counts_for_right_first() -> None:
    rows = [a_row(("FEN-1b", ()), ("LIF-1a", ())), a_row(("LIF-1a", ()), ("FEN-1b", ())), a_row()]
    assert [row.right_first for row in rows] == [True, False, False]
    assert matrix.share_right_first(rows) == 1 / 3


def test_rows_survive_json() -> None:
    row = a_row(("FEN-1a", ("FEN-2a",)))
    document = json.loads(matrix.as_json([row]))
    assert (document["format"], [matrix.from_dict(each) for each in document["mutants"]]) == (1, [row])


def test_unproven_lists_behaviours_without_a_mutant() -> None:
    unproven = matrix.unproven(m for m in MUTANTS.values() if "LIF-12a" not in m.found_by)
    assert unproven == ["LIF-12a"]


def test_the_document_has_every_mutant_under_its_clause() -> None:
    text = matrix.markdown({"M": MUTANT})
    assert "## FEN-1\n" in text
    assert (
        "| Forgets. <br>`M` | [FEN-1a](catalogue.md#fen-1a), [FEN-2a](catalogue.md#fen-2a) |"
        in text.partition("## FEN-1\n")[2]
    )


def test_an_undeclared_cause_that_explains_nothing_is_no_fault() -> None:
    assert matrix.faults(MUTANT, a_row(("FEN-1a", ("FEN-2a",)), ("FEN-3a", ()))) == []
