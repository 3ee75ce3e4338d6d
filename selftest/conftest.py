"""Collects the rows of the kill matrix from all processes, and writes the matrix when it is complete."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import selftest.mutants  # noqa: F401  # registers them
from selftest import matrix
from selftest.mutant import MUTANTS

if TYPE_CHECKING:
    from collections.abc import Iterator

gc.freeze()
gc.set_threshold(50_000, 20, 50)
"""A run creates a million objects that live until its end, so that frequent garbage collection frees nothing."""
KILL_MATRIX = Path(__file__).parent.parent / "docs" / "kill-matrix.json"
RESTARTS = ("test_durability", "test_faults", "test_hosts", "test_rollout")
"""Modules whose tests wait for transitions and restarts in real time."""
ROWS: dict[str, matrix.Row] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests that mostly wait to the front: they leave the cores to other processes (`--dist worksteal`)."""
    items.sort(key=lambda item: not _mostly_waits(item))


def _mostly_waits(item: pytest.Item) -> bool:
    if item.path.stem in RESTARTS:
        return True
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return "over_tcp" in item.name or "scale" in item.name or getattr(params.get("mutant"), "tcp", False)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for key, value in report.user_properties:
        if report.when == "call" and key == "row":
            row = matrix.from_dict(json.loads(str(value)))
            ROWS[row.mutant] = row


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    if MUTANTS and ROWS.keys() == MUTANTS.keys():
        if matrix.share_right_first(list(ROWS.values())) < matrix.MIN_RIGHT_FIRST:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        KILL_MATRIX.write_text(matrix.as_json(ROWS.values()), encoding="utf-8")
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ROWS:
        right = matrix.share_right_first(list(ROWS.values()))
        terminalreporter.write_line(
            f"{len(ROWS)} of {len(MUTANTS)} mutants judged by the whole suite; for {right:.1%} of them the first"
            f" reported cause belongs to the broken clause (required: {matrix.MIN_RIGHT_FIRST:.0%})"
        )
