"""The formats of a certificate."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from conformance.core.json_reader import Malformed
from conformance.reporters import certificate as reporter
from conformance.reporters import certificate_files
from conformance.reporters.html_report import certificate as html
from conformance.results import certificate as certificates
from conformance.results.certificate import ClauseStatus, LaneOutcome
from conformance.results.report import Home
from conformance.results.result import Status
from tests.hostile import TEXTS
from tests.reporters.test_html import Page
from tests.results.test_certificate import a_clause_result, a_lane, of

SCHEMA = Path(reporter.__file__).with_name("certificate.schema.json")
BROKEN = of(
    a_lane("conformance", a_clause_result("FEN-3", Status.FAILED, wanted="FAILED_PRECONDITION", got="OK")),
    a_lane("durability", home=Home(left=(("m1", "stuck"),))),
    LaneOutcome(lane="faults", reason="interrupted (SIGINT)"),
)
HEADS = ["lane", "verdict", "creates", "restarts", "time"]
SOUND = of(*map(a_lane, ("conformance", "scale", "faults", "durability")))


@pytest.mark.parametrize("found", [BROKEN, SOUND])
def test_the_terminal_needs_80_columns(found: certificates.Certificate) -> None:
    assert max(map(len, reporter.lines(found))) <= 80


def test_the_terminal_names_the_broken_clause_first_and_the_verdict_last() -> None:
    lines = reporter.lines(BROKEN)
    assert lines[0] == "BROKEN       FEN-3 MUST, conformance lane: FEN-3a"
    text = "\n".join(lines)
    assert "wanted FAILED_PRECONDITION; got OK" in text
    assert "not run" in text
    assert "interrupted (SIGINT)" in text
    assert "clean-up     1 machine NOT RETURNED: m1" in text
    assert lines[-1] == "certificate  NON-CONFORMANT; claims durable"


def test_the_terminal_shows_the_lanes_with_their_bill() -> None:
    lines = reporter.lines(SOUND)
    assert next(line for line in lines if line.startswith("lane ")).split() == HEADS
    assert next(line for line in lines if line.startswith("total")).split() == ["total", "4", "0", "8", "s"]
    assert lines[-1] == "certificate  CONFORMANT; claims core, cloud, spot, faults, durable, scale"


def test_markdown_has_a_row_for_each_lane_profile_and_clause() -> None:
    rows = [line for line in reporter.markdown(BROKEN).splitlines() if line.startswith("| ")]
    assert any("[report](conformance/report.html)" in row for row in rows)
    assert any(row.startswith("| FEN-3 | MUST | **broken** | conformance | FEN-3a |") for row in rows)
    assert len({row.count(" | ") for row in rows}) <= 4
    assert len(rows) == 3 + len(BROKEN.lanes) + 1 + len(BROKEN.profiles) + len(BROKEN.clauses) + 3


def test_html_is_one_page_without_script_that_names_everything() -> None:
    page = Page(html.render(BROKEN))
    assert not [kind for kind, _ in page.elements if kind == "script"]
    assert {str(a["href"]) for kind, a in page.elements if kind == "a" and "report" in str(a["href"])} == {
        "conformance/report.html",
        "durability/report.html",
    }
    for text in ("Non-conformant", "FEN-3a", "interrupted (SIGINT)", "m1", "1 machine not returned"):
        assert text in page.text
    assert page.text.index("FEN-3:") if "FEN-3:" in page.text else page.text.index("FEN-3") < page.text.index("DUR-1")


@pytest.mark.parametrize("found", [BROKEN, SOUND])
def test_json_satisfies_its_schema_and_can_be_read_back(found: certificates.Certificate) -> None:
    value = json.loads(reporter.render(found))
    jsonschema.validate(value, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert (value["kind"], value["format"]) == ("certificate", 1)
    assert certificates.from_json(value) == found


def test_other_documents_are_not_certificates() -> None:
    assert certificates.from_json({"format": 1, "verdict": "conformant"}) is None
    assert certificates.from_json([]) is None
    with pytest.raises(Malformed, match="missing required field"):
        certificates.from_json({"kind": "certificate"})


def test_a_badge_says_whether_its_profile_is_claimed() -> None:
    badges = {row.name: json.loads(reporter.badge(row)) for row in BROKEN.profiles}
    assert all(badge["schemaVersion"] == 1 for badge in badges.values())
    assert (badges["durable"]["message"], badges["durable"]["color"]) == ("conformant", "brightgreen")
    assert (badges["core"]["message"], badges["core"]["color"]) == ("1 behaviour failed", "red")
    assert (badges["faults"]["message"], badges["faults"]["color"]) == ("not claimed", "lightgrey")


def test_all_files_are_written_and_emptied(tmp_path: Path) -> None:
    certificate_files.write(tmp_path, BROKEN)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"certificate.json", "certificate.md", "certificate.html", "badge-core.json", "badge-spot.json"} <= names
    assert all(path.stat().st_size for path in tmp_path.iterdir())
    certificate_files.empty(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_from_a_provider_cannot_break_a_format(text: str) -> None:
    result = a_clause_result("FEN-3", Status.FAILED, wanted="another answer", got=text)
    found = of(a_lane("conformance", result, stopped=text))
    assert all(line.isprintable() and len(line) <= 80 for line in reporter.lines(found))
    assert reporter.markdown(found).count("\n## ") == 3
    assert not [kind for kind, _ in Page(html.render(found)).elements if kind == "script"]
    assert certificates.from_json(json.loads(reporter.render(found))) is not None
    assert found.clauses[0].status is ClauseStatus.BROKEN
