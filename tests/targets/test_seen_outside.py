"""A breach that a run sees before, between or after its behaviours decides the verdict, and the exit code is 1."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.provider_process import judge, serving_mutant

if TYPE_CHECKING:
    from pathlib import Path

AT_START = {
    "NoCapIsNoMachine": "LST-2c",
    "NoFilterMatchesNothing": "LST-1d",
    "EverythingTwice": "LST-3a",
    "CapIsRequired": "LST-2c",
    "FencedList": "FEN-8a",
    "NoStates": "SHP-1a",
}
"""Providers on which no behaviour can run, with the behaviour that still fails."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("mutant", "behaviour"), AT_START.items())
def test_a_breach_that_stops_the_run_is_a_breach(mutant: str, behaviour: str, tmp_path: Path) -> None:
    with serving_mutant(mutant) as provider:
        done = judge(provider, "--select", "FEN-1a,LIF-1a", directory=tmp_path)
    assert done.code == 1, done.text
    assert "NON-CONFORMANT" in done.verdict, done.text
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    failed = {b["id"]: b for b in report["behaviours"] if b["status"] == "failed"}
    assert list(failed) == [behaviour]
    assert failed[behaviour]["calls"], "no evidence"
    assert behaviour in done.text


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("mutant", "behaviour"),
    [("RenamesInCreate", "LIF-4a"), ("SlotsAreOnlyListed", "LST-4a")],
)
def test_a_breach_that_keeps_all_machines_from_the_behaviours_is_a_breach(
    mutant: str, behaviour: str, tmp_path: Path
) -> None:
    with serving_mutant(mutant) as provider:
        done = judge(provider, "--select", "MET-1a,MET-1b", directory=tmp_path)
    assert done.code == 1, done.text
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    failed = {b["id"] for b in report["behaviours"] if b["status"] == "failed"}
    assert behaviour in failed, done.text


SCALE = ("--lane", "scale", "--soak", "60ops", "--max-machines", "4")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("mutant", "behaviour"), AT_START.items())
def test_a_breach_that_stops_the_scale_lane_is_a_breach(mutant: str, behaviour: str, tmp_path: Path) -> None:
    with serving_mutant(mutant) as provider:
        done = judge(provider, *SCALE, directory=tmp_path)
    assert done.code == 1, done.text
    assert "NON-CONFORMANT" in done.verdict, done.text
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {b["id"] for b in report["behaviours"] if b["status"] == "failed"} >= {behaviour}
    assert behaviour in done.text
