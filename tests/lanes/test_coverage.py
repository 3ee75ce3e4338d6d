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

CLAUSES = {clause.id: clause for clause in catalogue.load().clauses if clause.area == "ROL"}
ROLLOUT = SimpleNamespace(
    name="rollout",
    in_all={},
    needs_plan=False,
    entries=lambda: catalogue.read_entries(
        "".join(
            f'[behaviour.{clause}a]\ntitle = "The title of {clause}"\nobserved = "By a test."\nsince = "0.1.0"\n'
            for clause in CLAUSES
        ),
        clauses=CLAUSES,
        source="rollout.toml",
    ),
)
"""A lane that judges each clause of §13, in the place of the real one."""


@pytest.fixture(autouse=True)
def with_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    known = (*(lane for lane in lanes.all_lanes() if lane.name != "rollout"), ROLLOUT)
    monkeypatch.setattr(lanes, "all_lanes", lambda: known)


def test_its_run_claims_its_profile() -> None:
    results = [Result(entry=entry, status=Status.PASSED) for entry in ROLLOUT.entries()]
    report = a_report(*results, coverage=lanes.kit_coverage("rollout"))
    assert profiles.claimed(report) == ("rollout",)


def test_another_run_says_that_it_was_not_run() -> None:
    found = {
        claim.profile.name: claim for claim in profiles.claims(a_report(coverage=lanes.kit_coverage("conformance")))
    }
    assert found["rollout"].line == "not claimed: the rollout lane was not run (--lane rollout)"
    assert found["faults"].line == "not claimed: the faults lane was not run (--lane faults)"


def test_list_shows_its_behaviours(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli_main.main(["list", "--select", "ROL", "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert [(each["id"], each["judged"], each["lane"]) for each in found] == [
        (f"{clause}a", True, "rollout") for clause in CLAUSES
    ]
    with pytest.raises(SystemExit):
        cli_main.main(["list", "--select", "ROL-1"])
    assert capsys.readouterr().out == "ROL-1a   MUST   The title of ROL-1 (lane rollout)\n"
