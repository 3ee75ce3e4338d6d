"""The catalogue and the suite match, and cover the contract."""

from __future__ import annotations

import pytest

from conformance.core import catalogue
from conformance.core.catalogue import Level
from conformance.core.lifecycle import State
from conformance.engine.preflight import MEANS
from conformance.frontends import collection
from conformance.results.target_info import TargetInfo
from conformance.testkit.behaviour import declaration_of

SECTIONS = ("WIR", "LIF", "OPS", "COD", "FEN", "MET", "LST", "SHP", "SEC", "HST")
LATER = ("FLT", "DUR", "ROL")  # lanes are to judge them
OPTIONAL = ("LST-5",)  # only says that revisions are optional; other clauses define them


def test_every_entry_has_a_behaviour_and_every_behaviour_an_entry() -> None:
    declarations = [declaration_of(function) for function in collection.functions()]
    assert sorted(d[0] for d in declarations if d) == sorted(e.id for e in catalogue.load().entries)


def test_every_clause_has_a_behaviour() -> None:
    open_clauses = [c.id for c in catalogue.load().unjudged() if c.area in SECTIONS and c.id not in OPTIONAL]
    assert open_clauses == []


def test_the_clauses_have_the_sections_of_the_contract() -> None:
    assert {c.area for c in catalogue.load().clauses} == {*SECTIONS, *LATER}


def test_no_behaviour_is_stricter_than_its_clause() -> None:
    """Some SHOULD clauses contain a MUST (COD-4: nothing changes), and their text marks it."""
    rank = list(Level)
    for entry in catalogue.load().entries:
        if rank.index(entry.level) < rank.index(entry.clause.level):
            assert "(MUST)" in entry.clause.text, entry.id


def test_every_behaviour_needs_at_most_four_machines() -> None:
    known = catalogue.load()
    assert max(b.needs.machines for b in collection.plan(known, collection.functions())) <= 4


def test_the_probe_knows_every_capability_that_an_entry_needs() -> None:
    found = TargetInfo(
        fleet={},
        delete=True,
        revisions=True,
        fence_scope=None,
        tls=False,
        client_certificate=False,
        health=None,
        reflection=False,
        spot=False,
        zones=(),
        speculative=(),
        idle=(),
    )
    for entry in catalogue.load().entries:
        for need in {*entry.needs} - {*MEANS}:
            found.has(need)


def test_only_behaviours_that_start_at_speculative_create_machines() -> None:
    for behaviour in collection.plan(catalogue.load(), collection.functions()):
        if behaviour.needs.creates and "delete" not in behaviour.entry.needs:
            assert behaviour.needs.start is State.SPECULATIVE, behaviour.id


@pytest.mark.parametrize("entry", catalogue.load().entries, ids=lambda e: e.id)
def test_an_entry_has_a_title_and_a_description(entry: catalogue.Entry) -> None:
    assert 15 <= len(entry.title) <= 120
    assert not entry.title.endswith(".")
    assert len(entry.observed) >= 40
    assert entry.observed.endswith(".")
