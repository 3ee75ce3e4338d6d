"""Every mutant meets every behaviour, and nothing but what it breaks is named as the cause: `make matrix`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.catalogue import clause_of
from selftest import matrix
from selftest.judge import judge_wholly
from selftest.mutant import MUTANTS, Mutant

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_the_whole_suite_finds_the_mutant_for_its_own_reason(
    mutant: Mutant, record_property: Callable[[str, object], None]
) -> None:
    report = judge_wholly(mutant)
    row = matrix.row(mutant, report)
    record_property("row", json.dumps(asdict(row)))
    for result in report.violations.values():
        assert result.reason.startswith(f"{clause_of(result.id)}: ")
    assert matrix.faults(mutant, row) == []
