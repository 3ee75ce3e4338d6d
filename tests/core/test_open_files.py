from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from conformance.core.errors import NotObserved
from conformance.core.open_files import TOO_MANY_FILES, explain, explain_open_files, open_files_problem
from conformance.engine.judge import outcome
from conformance.results.result import Status
from tests.runs import entry


def failing_open(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*arguments: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)


def test_there_is_no_problem_if_a_file_can_be_opened() -> None:
    assert open_files_problem() == ""


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_the_limit_is_named_if_no_file_can_be_opened(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_open(monkeypatch, number)
    assert open_files_problem() == explain_open_files()
    assert open_files_problem().startswith("the kit cannot open more files at once (ulimit -n is ")


def test_another_error_is_not_about_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    failing_open(monkeypatch, errno.EACCES)
    assert open_files_problem() == ""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EMFILE, "Too many open files"), explain_open_files()),
        (OSError(errno.EACCES, "denied"), "the kit itself failed: PermissionError: [Errno 13] denied"),
        (NotObserved("too late"), "too late"),
    ],
)
def test_a_behaviour_that_runs_out_of_files_is_not_judged_and_says_so(error: Exception, reason: str) -> None:
    assert outcome(entry(), error) == (Status.ERROR, reason, "", "")


def test_an_error_is_explained_by_the_operating_system_or_by_the_limit() -> None:
    assert explain(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert explain(OSError("odd")) == "odd"
    for number in TOO_MANY_FILES:
        assert explain(OSError(number, "Too many open files")) == explain_open_files()
