"""A lane that judges clauses of its own: the rest of the kit knows from its catalogue alone."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from conformance import lanes
from conformance.core import catalogue
from conformance.frontends.cli import main as cli_main
from conformance.results import profiles
from conformance.results.result import Result, Status
from tests.values import a_report

CLAUSES = {clause.id: clause for clause in catalogue.load().clauses if clause.area == "FLT"}
FAULTS = SimpleNamespace(
    name="faults",
    needs_plan=False,
    entries=lambda: catalogue.read_entries(
        "".join(
            f'[behaviour.{clause}a]\ntitle = "The title of {clause}"\nobserved = "By a test."\nsince = "0.1.0"\n'
            for clause in CLAUSES
        ),
        clauses=CLAUSES,
        source="faults.toml",
    ),
)
"""A lane that judges each clause of §9."""


@pytest.fixture(autouse=True)
def with_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    known = (*lanes.all_lanes(), FAULTS)
    monkeypatch.setattr(lanes, "all_lanes", lambda: known)


def test_its_run_claims_its_profile() -> None:
    results = [Result(entry=entry, status=Status.PASSED) for entry in FAULTS.entries()]
    report = a_report(*results, coverage=lanes.kit_coverage("faults"))
    assert profiles.claimed(report) == ("faults",)


def test_another_run_says_that_it_was_not_run() -> None:
    found = {
        claim.profile.name: claim for claim in profiles.claims(a_report(coverage=lanes.kit_coverage("conformance")))
    }
    assert found["faults"].line == "not claimed: the faults lane was not run (--lane faults)"
    assert found["durable"].line == "not claimed: no behaviour judges §10 DUR yet"


def test_list_shows_its_behaviours(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli_main.main(["list", "--select", "FLT", "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert [(each["id"], each["judged"], each["lane"]) for each in found] == [
        (f"{clause}a", True, "faults") for clause in CLAUSES
    ]
    with pytest.raises(SystemExit):
        cli_main.main(["list", "--select", "FLT-1"])
    assert capsys.readouterr().out == "FLT-1a   MUST   The title of FLT-1 (lane faults)\n"
