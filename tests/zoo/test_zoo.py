"""Whatever answers: a run ends, in words, within its bounds, and leaves nothing that it does not name."""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from conformance.core.text import printable
from tests.zoo import table
from tests.zoo.encounter import AT_ONCE, FORM, WHOLE, Encounter, bound, meet
from tests.zoo.species import ZOO

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 500.0 if WHOLE else 400.0
"""Megabytes of memory that a run may ever have. In the whole suite a dozen behaviours hold a List at a time, and one
species answers with 16 MB each."""

Encounters = dict[str, "Future[Encounter]"]


@pytest.fixture(scope="module")
def encounters(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encounters]:
    """Every encounter that some test of this run asks for, begun in the order in which they will be asked for."""
    asked = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    keys = [call.params["key"] for call in asked if call is not None and "key" in call.params]
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield {key: pool.submit(meet, ZOO[key], tmp_path_factory.mktemp("zoo")) for key in keys}
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(sum(map(bound, ZOO.values())))
@pytest.mark.parametrize("key", [key for key, species in ZOO.items() if FORM or not species.rare])
def test_a_run_against_it_ends_in_words_and_leaves_nothing_unnamed(key: str, encounters: Encounters) -> None:
    met = encounters[key].result()
    assert "Traceback" not in met.said
    assert "the kit itself failed" not in met.said
    assert met.code in met.species.codes, met.said
    assert WHOLE or re.search(met.species.says, met.headline), met.said
    assert WHOLE or re.search(re.escape(met.species.mend), met.hint), met.said
    assert met.megabytes <= MOST
    assert set(met.away) <= met.named, met.said
    assert met.open | set(map(printable, met.taken)) == met.named, met.said
    assert {"report.json", "junit.xml", "report.html"} <= met.written
    assert all(line.isprintable() for line in met.said.splitlines())
    assert max(map(len, met.said.splitlines())) < 10_000


def test_the_zoo_is_large_and_nothing_in_it_may_pass() -> None:
    assert len(ZOO) >= 25
    assert set[int]().union(*(species.codes for species in ZOO.values())) == {1, 3}


@pytest.mark.parametrize("row", table.rows(), ids=lambda row: row.key)
def test_what_the_document_says_of_a_species_is_what_it_must_yield(row: table.Row) -> None:
    species = ZOO[row.key]
    assert row.story == species.story
    assert row.code in species.codes
    assert re.search(species.says, row.line)
    assert row.megabytes <= MOST


def test_the_document_holds_every_species() -> None:
    assert [row.key for row in table.rows()] == list(ZOO)
