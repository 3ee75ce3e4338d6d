"""State that a run holds: how long it waits, what it tells, and what the report says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from conformance.core import catalogue
from conformance.core.virtual_clock import virtual_clock
from conformance.engine.dry_run import run_on_virtual_clock
from conformance.reporters.terminal import closing
from conformance.results.held import TITLES
from conformance.results.result import Verdict
from conformance.testkit.hold import Hold
from selftest.judge import judge_mutant_in_virtual_time, options_of, plan_of
from selftest.mutant import MUTANTS
from selftest.mutants import held
from tests.runs import provider

if TYPE_CHECKING:
    from conformance.results.report import Report

HOLDING = ("LIF-3c", "FEN-12f", "LST-6a")
"""The behaviours that look at long-lived state."""


@pytest.mark.parametrize(("since", "waited"), [(-3.0, 4.0), (0.0, 7.0), (-8.0, 0.0)])
def test_a_hold_waits_only_for_what_is_left(since: float, waited: float) -> None:
    told: list[str] = []

    async def wait() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        hold = Hold(7.0, clock=lambda: loop.time() - start, tell=told.append)
        await hold.wait(since)
        assert hold.waited == pytest.approx(waited)
        return loop.time() - start

    assert virtual_clock(wait()) == pytest.approx(waited)
    assert len(told) == (2 if waited > 5 else 1 if waited else 0)
    assert all(f"{waited:.1f} s more" in text for text in told[:1])


def test_the_longest_time_counts() -> None:
    now = [5.0]
    hold = Hold(0.0, clock=lambda: now[0])
    for since in (4.0, 1.0, 3.0):
        hold.note("marks", since)
    assert hold.held == {"marks": 4.0}


def held_report(seconds: float, **others: Any) -> Report:
    options = replace(options_of(1, hold=seconds), **others)
    return run_on_virtual_clock(plan_of(HOLDING), provider(8, latency=0.03), options=options)


def test_every_kind_is_held_for_as_long_as_it_is_asked_for() -> None:
    report = held_report(10.0)
    assert report.verdict is Verdict.CONFORMANT
    assert report.held.keys() == TITLES.keys()
    assert min(report.held.values()) >= 10.0
    assert report.time.wall < 15.0  # one wait serves all
    assert report.asked.hold == 10.0
    [line] = [line for line in closing(report) if line.startswith("held ")]
    assert "not observed" not in line


def test_without_the_option_nothing_is_waited_for() -> None:
    report = held_report(0.0)
    assert report.verdict is Verdict.CONFORMANT
    assert report.time.wall < 3.0
    assert report.held["machines"] < 1.0
    assert "metadata" not in report.held


MUTANTS_OF_MACHINES = tuple(
    name for name, mutant in MUTANTS.items() if mutant.core.__module__ == held.__name__ and mutant.hold
)


@pytest.mark.parametrize("name", MUTANTS_OF_MACHINES)
def test_a_defect_that_takes_seconds_shows_only_with_a_hold(name: str) -> None:
    mutant = MUTANTS[name]
    judged = judge_mutant_in_virtual_time(mutant, select=HOLDING)
    assert mutant.clause in {catalogue.load()[name].clause.id for name in judged.violations}
    assert not judge_mutant_in_virtual_time(replace(mutant, hold=0.0), select=HOLDING).violations
