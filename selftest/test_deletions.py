"""What counts as a line that states a fact, and what is left when it is gone."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from selftest.deletions import ROOT, SUITE, facts

if TYPE_CHECKING:
    from pathlib import Path

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


def test_a_fact_is_a_statement_of_its_own_however_many_lines_it_has(tmp_path: Path) -> None:
    path = tmp_path / SUITE / "test_some.py"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT, encoding="utf-8")
    found = facts(tmp_path)
    assert [(line.first, line.last) for line in found] == [(3, 6), (8, 8)]
    assert found[0].without(TEXT).splitlines()[1:4] == [
        "    ack = await expect.acked(trial.machine.create())",
        "    pass",
        "    if ack:",
    ]
    ast.parse(found[1].without(TEXT))


def test_the_suite_states_hundreds_of_facts() -> None:
    assert len(facts(ROOT)) > 250
