"""Gathers the rows of the kill matrix, from whichever process judged the mutant, and writes it when all are there."""

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
"""A run makes a million objects that live as long as it does: looking through them more often finds nothing."""
WHERE = Path(__file__).parent.parent / "docs" / "kill-matrix.json"
ROWS: dict[str, matrix.Row] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits goes first: one process sits it out, and leaves the cores to the others (`--dist worksteal`)."""
    items.sort(key=lambda item: not _waits(item))


def _waits(item: pytest.Item) -> bool:
    given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return "over_tcp" in item.name or "churn" in item.name or getattr(given.get("mutant"), "tcp", False)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for key, value in report.user_properties:
        if report.when == "call" and key == "row":
            row = matrix.from_dict(json.loads(str(value)))
            ROWS[row.mutant] = row


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    if MUTANTS and ROWS.keys() == MUTANTS.keys():
        if matrix.share_right_first(list(ROWS.values())) < matrix.RIGHT_FIRST:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        WHERE.write_text(matrix.as_json(ROWS.values()), encoding="utf-8")
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ROWS:
        right = matrix.share_right_first(list(ROWS.values()))
        terminalreporter.write_line(
            f"{len(ROWS)} of {len(MUTANTS)} mutants judged by the whole suite; for {right:.1%} of them the first cause"
            f" named is of the broken clause (at least {matrix.RIGHT_FIRST:.0%} wanted)"
        )
