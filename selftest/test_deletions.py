"""Deleted lines of the suite and of the model are noticed; how these lines are found and deleted.

Deletes ten lines, always the same; CONFORMANCE_DELETIONS=all deletes each line, as `make deletions` does.
"""

from __future__ import annotations

import ast
import os
import random
from typing import TYPE_CHECKING

import pytest

from selftest.deletions import ROOT, SUITE, Line, deleted, facts, holder_of, problem_without, reaching

if TYPE_CHECKING:
    from pathlib import Path

LINES = facts(ROOT)
SOME = LINES if os.environ.get("CONFORMANCE_DELETIONS") == "all" else random.Random(6).sample(LINES, 10)
TEXT = """\
async def test(trial):
    ack = await expect.acked(trial.machine.create())
    await expect.settles(
        trial.machine,
        ack,
    )
    if ack:
        expect.fact(ack.ok, wanted="a", got="b")
    print(ack)
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("line", SOME, ids=lambda line: f"{line.path.stem}:{line.first}")
def test_it_is_noticed_that_a_line_is_deleted(line: Line) -> None:
    assert problem_without(line)


def test_facts_are_statements_of_one_or_more_lines(tmp_path: Path) -> None:
    path = tmp_path / SUITE / "test_some.py"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT, encoding="utf-8")
    found = facts(tmp_path)
    assert [(line.first, line.last, line.holder) for line in found] == [(3, 6, "test"), (8, 8, "test")]
    assert found[0].without(TEXT).splitlines()[1:4] == [
        "    ack = await expect.acked(trial.machine.create())",
        "    pass",
        "    if ack:",
    ]
    ast.parse(found[1].without(TEXT))


def test_the_suite_states_hundreds_of_facts() -> None:
    assert len(LINES) > 200


def test_each_fact_is_reached_by_a_behaviour() -> None:
    assert [line for line in LINES if not line.in_model and not reaching(holder_of(line))] == []


def test_the_model_has_rules() -> None:
    assert len([line for line in LINES if line.in_model]) > 20


def test_a_line_is_restored_after_its_deletion() -> None:
    for line in LINES:
        before = holder_of(line).__code__
        with deleted(line):
            assert holder_of(line).__code__ != before
        assert holder_of(line).__code__ is before
