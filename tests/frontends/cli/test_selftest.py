from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from conformance.frontends.cli.commands.selftest import selftest_command
from selftest import quick
from selftest.mutant import MUTANTS
from selftest.quick import Check, Kind, Outcome
from selftest.variants import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_every_clause_has_its_mutant_and_every_variant_is_run() -> None:
    wanted = quick.checks()
    mutants = [MUTANTS[check.name] for check in wanted if check.kind is Kind.MUTANT]
    assert [m.clause for m in mutants] == sorted({m.clause for m in MUTANTS.values()})
    assert sum(check.kind is Kind.VARIANT for check in wanted) == len(VARIANTS)


@pytest.mark.timeout(120)
def test_a_variant_and_a_mutant_are_judged_in_separate_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    few = (Check(kind=Kind.VARIANT, name="Instant"), Check(kind=Kind.MUTANT, name="EqualTokenPasses"))
    monkeypatch.setattr(quick, "checks", lambda: few)
    result = CliRunner().invoke(selftest_command, ["--jobs", "2"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "  1 variants: no behaviour fails on a conformant provider"
    assert lines[1] == "  1 mutants: every broken clause is found by its behaviours"


def test_a_false_alarm_or_a_missed_mutant_is_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    wolf, blind = Check(kind=Kind.VARIANT, name="Instant"), Check(kind=Kind.MUTANT, name="EqualTokenPasses")

    def run(wanted: object, *, jobs: int, seed: int) -> Iterator[Outcome]:
        yield Outcome(check=wolf, wrong="FEN-1a failed: FEN-1: [red]\x1b", seconds=0.1)
        yield Outcome(check=blind, wrong="FEN-1a did not find it", seconds=0.1)

    monkeypatch.setattr(quick, "run", run)
    result = CliRunner().invoke(selftest_command)
    assert result.exit_code == 1
    assert "WRONG    variant Instant: FEN-1a failed: FEN-1: [red]\\x1b" in result.output.splitlines()
    assert "WRONG    mutant EqualTokenPasses: FEN-1a did not find it" in result.output.splitlines()
    assert "variants: wrong in 1" in result.output
    assert "mutants: wrong in 1" in result.output
