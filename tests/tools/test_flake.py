"""The search for wrong verdicts: it reports a wrong one, and none on conformant providers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from conformance.results.report import Home
from conformance.results.result import Status
from selftest.variants import VARIANTS
from tests.values import a_report, a_result
from tools import flake

if TYPE_CHECKING:
    from pathlib import Path

SELECT = ("--select", "FEN-11a,OPS-2,OPS-6b,MET-1a,LIF-1a,LST-6a")
BURNERS = str(os.cpu_count() or 1)

REFERENCE = VARIANTS["Reference"]


@pytest.mark.timeout(180)
def test_no_verdict_is_wrong_with_jitter_and_busy_cores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "flake.ndjson"
    given = ["1", "--variant", "Reference", "--variant", "Uneven", *SELECT, "--burners", BURNERS, "--log", str(log)]
    assert flake.main(given) == 0
    assert "2 runs of 2 providers" in capsys.readouterr().out
    assert len(flake.earlier(log)) == 2


def test_a_search_resumes_and_counts_wrong_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = flake.planned(1, 6, ["Reference", "Uneven"])
    log = tmp_path / "flake.ndjson"
    lines = [
        f'{{"variant": "{variant}", "seed": {seed}, "wrong": "{"FEN-1a failed" if number else ""}", "seconds": 1.5}}\n'
        for number, (variant, seed) in enumerate(plan)
    ]
    log.write_text("".join(lines) + '{"variant": "Refe', encoding="utf-8")
    given = ["1", "--variant", "Reference", "--variant", "Uneven", "--burners", "0", "--log", str(log)]
    assert flake.main(given) == 1
    output = capsys.readouterr().out
    assert "1 wrong verdict" in output
    assert f"1 x Uneven: FEN-1a failed (seeds {plan[1][1]})" in output


def test_the_same_seeds_are_drawn_again() -> None:
    assert flake.planned(2, 6, ["a", "b"]) == flake.planned(2, 6, ["a", "b"])
    assert flake.planned(1, 6, ["a", "b"]) != flake.planned(1, 7, ["a", "b"])


@pytest.mark.parametrize("status", [Status.FAILED, Status.WARNED, Status.ERROR])
def test_a_failure_warning_or_error_is_a_wrong_verdict(status: Status) -> None:
    assert "TST-1a" in flake.wrong_results(REFERENCE, a_report(a_result(status, reason="why")))


def test_passes_and_skips_are_right_and_left_machines_are_not() -> None:
    assert flake.wrong_results(REFERENCE, a_report(a_result(), a_result(Status.SKIPPED, "TST-1b"))) == ""
    assert "m1 is left: stuck" in flake.wrong_results(
        REFERENCE, a_report(a_result(), home=Home(left=(("m1", "stuck"),)))
    )
    assert "inconclusive" in flake.wrong_results(REFERENCE, a_report())


def test_a_run_that_raises_counts_as_wrong() -> None:
    done = flake.run("Reference", 1, ["FEN-1a"], ["reset=1s"])
    assert (done.variant, done.seed, done.wrong) == ("Reference", 1, "")
    assert "no behaviour" in flake.run("Reference", 1, ["NOT-1a"], []).wrong
