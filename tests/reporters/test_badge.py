from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.reporters import badge
from conformance.results.report import Home, Report
from conformance.results.result import Status
from tests.values import a_report, a_result

PASSED = a_result()
FAILED = a_result(Status.FAILED, "TST-2a", reason="r")
WARNED = a_result(Status.WARNED, "TST-3a", reason="r")
ERROR = a_result(Status.ERROR, "TST-4a", reason="r")
LEFT = Home(left=(("m", "stuck"),))


@pytest.mark.parametrize(
    ("report", "message", "color"),
    [
        (a_report(PASSED), "conformant", "brightgreen"),
        (a_report(PASSED, whole=False), "conformant, partial run", "yellow"),
        (a_report(PASSED, WARNED), "conformant, 1 warned", "yellow"),
        (a_report(PASSED, home=LEFT), "conformant, machines not returned", "yellow"),
        (a_report(PASSED, home=Home(left=LEFT.left, kept=True)), "conformant", "brightgreen"),
        (a_report(PASSED, FAILED, FAILED), "non-conformant, 2 failed", "red"),
        (a_report(PASSED, lacking=("delete",)), "non-conformant, 1 required missing", "red"),
        (a_report(PASSED, ERROR), "inconclusive, 1 not judged", "lightgrey"),
        (a_report(), "inconclusive", "lightgrey"),
        (a_report(PASSED, home=Home(known=False)), "inconclusive", "lightgrey"),
    ],
)
def test_a_badge_has_the_verdict_and_is_green_only_for_a_flawless_run(report: Report, message: str, color: str) -> None:
    value: dict[str, Any] = json.loads(badge.render(report))
    assert value == {"schemaVersion": 1, "label": "capacity provider", "message": message, "color": color}


def test_a_badge_names_the_claimed_profiles_of_a_conformant_run() -> None:
    core, cloud = a_result(behaviour_id="FEN-1a"), a_result(behaviour_id="LIF-8a")
    assert badge.message(a_report(core, cloud)) == "conformant (core, cloud)"
    assert badge.message(a_report(core, cloud, lacking=("tls",))) == "non-conformant, 1 required missing"
    assert badge.message(a_report(core, cloud, whole=False)) == "conformant, partial run"
