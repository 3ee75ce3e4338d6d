"""A run against any target ends in time with a readable message, and names every machine that it leaves."""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from conformance.core.text import printable
from tests.zoo import table
from tests.zoo.encounter import CONCURRENT_RUNS, FORM, WHOLE, Encounter, run_against, time_limit
from tests.zoo.species import ZOO

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MEGABYTES = 500.0 if WHOLE else 400.0
"""The maximum memory of a run in MB. In the whole suite a dozen behaviours hold a List at a time, and one species
answers with 16 MB each."""

Encounters = dict[str, "Future[Encounter]"]


@pytest.fixture(scope="module")
def encounters(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encounters]:
    """Starts all encounters that the selected tests need, in the order of the tests."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    keys = [call.params["key"] for call in parameters if call is not None and "key" in call.params]
    pool = ThreadPoolExecutor(CONCURRENT_RUNS)
    try:
        yield {key: pool.submit(run_against, ZOO[key], tmp_path_factory.mktemp("zoo")) for key in keys}
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(sum(map(time_limit, ZOO.values())))
@pytest.mark.parametrize("key", [key for key, species in ZOO.items() if FORM or not species.rare])
def test_a_run_ends_with_a_readable_message_and_names_all_machines_left(key: str, encounters: Encounters) -> None:
    encounter = encounters[key].result()
    assert "Traceback" not in encounter.output
    assert "the kit itself failed" not in encounter.output
    assert encounter.code in encounter.species.codes, encounter.output
    assert WHOLE or re.search(encounter.species.says, encounter.headline), encounter.output
    assert WHOLE or re.search(re.escape(encounter.species.hint), encounter.hint), encounter.output
    assert encounter.megabytes <= MAX_MEGABYTES
    assert set(encounter.not_returned) <= encounter.named, encounter.output
    assert encounter.open | set(map(printable, encounter.taken)) == encounter.named, encounter.output
    assert {"report.json", "junit.xml", "report.html"} <= encounter.written
    assert all(line.isprintable() for line in encounter.output.splitlines())
    assert max(map(len, encounter.output.splitlines())) < 10_000


def test_the_zoo_is_large_and_no_species_may_pass() -> None:
    assert len(ZOO) >= 25
    assert set[int]().union(*(species.codes for species in ZOO.values())) == {1, 3}


@pytest.mark.parametrize("row", table.rows(), ids=lambda row: row.key)
def test_the_documented_result_of_a_species_is_the_required_one(row: table.Row) -> None:
    species = ZOO[row.key]
    assert row.story == species.story
    assert row.code in species.codes
    assert re.search(species.says, row.line)
    assert row.megabytes <= MAX_MEGABYTES


def test_the_document_lists_every_species() -> None:
    assert [row.key for row in table.rows()] == list(ZOO)
