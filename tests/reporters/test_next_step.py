from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core import catalogue
from conformance.core.catalogue import Level
from conformance.reporters import json_report, next_step
from conformance.results.result import Status
from tests.provider_process import run
from tests.values import a_call, a_report, a_result

if TYPE_CHECKING:
    from pathlib import Path

PASSED, FAILED, WARNED, ERROR, SKIPPED = (
    Status.PASSED,
    Status.FAILED,
    Status.WARNED,
    Status.ERROR,
    Status.SKIPPED,
)


def test_behaviours_come_after_their_dependencies() -> None:
    entries = catalogue.load().entries
    ordered = next_step.order(entries)
    place = {entry.id: number for number, entry in enumerate(ordered)}
    assert place.keys() == {entry.id for entry in entries}
    assert [(e.id, g) for e in ordered for g in e.rests_on if place[g] > place[e.id]] == []


def test_independent_behaviours_are_ordered_by_area() -> None:
    results = [a_result(behaviour_id=name) for name in ("WIR-1a", "FEN-1a", "MET-1a", "LIF-1a", "SHP-1a", "OPS-1a")]
    ordered = next_step.order([result.entry for result in results])
    assert [e.area for e in ordered] == ["SHP", "LIF", "OPS", "FEN", "MET", "WIR"]


def test_revisions_are_optional_and_come_late() -> None:
    known = {entry.id: number for number, entry in enumerate(next_step.order(catalogue.load().entries))}
    assert known["LST-6a"] > known["MET-1a"]


def test_the_next_step_is_the_failure_that_others_depend_on() -> None:
    report = a_report(
        a_result(FAILED, "FEN-1a", rests_on=["LIF-1a"]),
        a_result(FAILED, "LIF-1a", wanted="IDLE", got="FAILED"),
        a_result(ERROR, "LIF-1b", reason="no machine"),
        a_result(PASSED, "SHP-1a"),
    )
    step = next_step.step(report)
    assert step is not None
    assert (step.clause.id, step.result.id, [r.id for r in step.others], step.waiting) == (
        "LIF-1",
        "LIF-1a",
        ["LIF-1b"],
        1,
    )


def test_a_broken_must_comes_before_unjudged_musts_and_shoulds() -> None:
    warned = a_result(WARNED, "SHP-1a", level=Level.SHOULD)
    unjudged, failed = a_result(ERROR, "LIF-1a"), a_result(FAILED, "SEC-1a")
    for results, first in (
        ((warned, unjudged, failed), "SEC-1a"),
        ((warned, unjudged), "LIF-1a"),
        ((warned,), "SHP-1a"),
    ):
        step = next_step.step(a_report(*results))
        assert step is not None
        assert step.result.id == first


def test_progress_counts_applicable_clauses() -> None:
    report = a_report(
        a_result(PASSED, "LIF-1a"),
        a_result(SKIPPED, "LIF-1b"),
        a_result(PASSED, "LIF-2a"),
        a_result(FAILED, "LIF-2b"),
        a_result(PASSED, "LIF-3a"),
        a_result(ERROR, "LIF-3b"),
        a_result(SKIPPED, "LST-6a"),
        a_result(SKIPPED, "FEN-14a", level=Level.MAY),
    )
    now = next_step.progress(report)
    assert (now.satisfied, now.broken, now.unjudged, now.not_applicable, now.applicable) == (1, 1, 1, 1, 3)
    assert next_step.lines(report)[0] == "progress   1 of 3 clauses satisfied, 1 broken, 1 not judged, 1 not applicable"


def test_the_step_shows_wanted_got_and_commands() -> None:
    report = a_report(a_result(FAILED, "LIF-1a", wanted="IDLE", got="FAILED", calls=(a_call(),), decisive=(0,)))
    shown = "\n".join(next_step.lines(report))
    for part in (
        "next       LIF-1 MUST",
        "wanted  IDLE",
        "got     FAILED",
        "Get(m1)",
        "grpcurl",
        "conformance show LIF-1a",
    ):
        assert part in shown


def test_without_open_clauses_there_is_no_next_step() -> None:
    assert next_step.lines(a_report(a_result()))[-1] == "next       nothing: all judged clauses are satisfied"
    assert next_step.lines(a_report(a_result(), whole=False))[-1].endswith("run all behaviours next")


def test_without_results_the_next_step_is_to_make_the_target_reachable() -> None:
    report = a_report(a_result(ERROR), found=None, stopped="target h:1 refuses connections")
    assert next_step.lines(report) == [
        "next       make the target reachable; nothing was judged: target h:1 refuses connections"
    ]


def test_the_command_reads_a_report(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json_report.render(a_report(a_result(FAILED, "LIF-1a", wanted="a", got="b"))), encoding="utf-8")
    done = run("conformance", "next", str(path))
    assert done.code == 0, done.text
    assert "next       LIF-1 MUST" in done.out


def test_the_command_rejects_other_files_in_one_line(tmp_path: Path) -> None:
    done = run("conformance", "next", str(tmp_path / "none.json"))
    assert done.code == 2
    assert len(done.err.splitlines()) == 2
    assert "Traceback" not in done.text
