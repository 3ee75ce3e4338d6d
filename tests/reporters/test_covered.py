"""Reports show behaviours that a waiver covers like those that it names."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from conformance.reporters import json_report, junit, terminal
from conformance.results import reader
from conformance.results.fingerprint import of
from conformance.results.result import Status
from conformance.results.waivers import Waived, Waiver, WaiverState
from tests.values import a_report, a_result

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.results.report import Report


def covered() -> Report:
    root = a_result(Status.FAILED, wanted="x", got="y", reason="r")
    waiver = Waiver(
        id=root.id, reason="soon", owner="ann", expires=date(2031, 1, 2), fingerprint=of(root), covers=("TST-2a",)
    )
    unjudged = a_result(Status.ERROR, "TST-2a", reason="no answer")
    waived = Waived(waiver=waiver, state=WaiverState.HOLDS, covered=("TST-2a",))
    return a_report(root, unjudged, waivers=(waived,), waivers_file="w.toml")


def test_a_covered_behaviour_that_was_not_judged_is_skipped_in_junit() -> None:
    suite = ElementTree.fromstring(junit.render(covered()))
    assert {name: suite.get(name) for name in ("failures", "errors")} == {"failures": "0", "errors": "0"}
    messages = [skipped.get("message", "") for skipped in suite.iter("skipped")]
    assert messages[1] == "not judged, waived until 2031-01-02 by ann: soon: no answer"


def test_a_covered_behaviour_is_counted_as_waived_on_the_terminal() -> None:
    lines = terminal.closing(covered())
    assert lines[0] == ("verdict    CONFORMANT, 1 waived: 1 failed and waived, 1 not judged and waived, 0 passed")
    assert not any(line.startswith("unjudged") for line in lines)


def test_covered_behaviours_survive_a_record(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json_report.dumps(json_report.as_dict(covered())), encoding="utf-8")
    read = reader.read(path)
    assert (read.waivers, read.exit_code) == (covered().waivers, 0)
