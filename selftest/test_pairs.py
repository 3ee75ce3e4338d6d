"""Two defects in one provider are two causes, and a defect keeps its fingerprints.

A sample: `python -m selftest.pairs` and `python -m selftest.fingerprints` judge more.
"""

from __future__ import annotations

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.core.catalogue import clause_of
from selftest import fingerprints, pairs
from selftest.mutant import MUTANTS, Mutant

SAMPLE = tuple(pairs.draw(6, seed=3))


def test_trimmed_metadata_is_a_cause_beside_a_fence_that_is_missing_on_drain() -> None:
    one, other = MUTANTS["DrainIsNotFenced"], MUTANTS["AckTrimsMetadata"]
    found = pairs.judge_pair(one, other, select=("FEN-*", "MET-1*"))
    assert found.named, found.causes


def test_both_defects_of_a_pair_are_named() -> None:
    outcomes = [pairs.judge_pair(one, other, select=(*one.found_by, *other.found_by)) for one, other in SAMPLE]
    shown = [each for each in outcomes if each.shown]
    hidden = [each for each in shown if not each.named]
    assert len(shown) > len(SAMPLE) / 2
    assert len(hidden) <= 1, hidden


def test_a_pair_breaks_different_clauses_and_no_method_twice() -> None:
    assert all(one.clause != other.clause for one, other in SAMPLE)
    one = MUTANTS["EqualTokenPasses"]
    other = next(m for m in MUTANTS.values() if clause_of(m.found_by[0]) != "FEN-1" and "passes" in vars(m.core))
    assert pairs.combined(one, other) is None


@pytest.mark.parametrize("mutant", fingerprints.draw(6, seed=1), ids=lambda mutant: mutant.name)
def test_fingerprints_depend_neither_on_the_seed_nor_on_the_speed(mutant: Mutant) -> None:
    assert fingerprints.differing(mutant, seeds=range(2)) == {}
