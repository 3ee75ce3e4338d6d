"""The files and tests in the configuration of `make mutants` exist, and the document has their results."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MUTMUT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
DOCUMENT = (ROOT / "docs" / "kit-mutants.md").read_text(encoding="utf-8")


def test_all_named_files_exist() -> None:
    named = [*MUTMUT["only_mutate"], *MUTMUT["also_copy"], *MUTMUT["pytest_add_cli_args_test_selection"]]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_document_has_a_row_for_each_file_whose_figures_add_up() -> None:
    rows = {}
    for line in DOCUMENT.splitlines():
        if match := re.fullmatch(r"\| `(.+?)` \|(.+)\|", line):
            rows[match[1]] = [int(cell) for cell in match[2].split("|")]
    assert sorted(rows) == sorted(MUTMUT["only_mutate"])
    for mutants, *ends in rows.values():
        assert mutants == sum(ends)
