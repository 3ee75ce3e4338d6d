"""The wording check of `make lint` finds phrases in prose, and ignores code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tools import prose

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = '''
def mend(weather):  # {comment}
    """{docstring}"""
    anew = {{"anew": weather}}
    raise UsageError("{literal}", hint=f"{{weather}} {formatted}")
'''
PLAIN = {"comment": "a comment", "docstring": "Returns a value.", "literal": "an error", "formatted": "and a hint"}


def lines(path: Path, capsys: pytest.CaptureFixture[str], expected: int) -> list[str]:
    """Returns the findings, as line number and phrase."""
    assert prose.main([str(path)]) == expected
    found = capsys.readouterr().out.replace(f"{path}:", "")
    return [f"{line} {phrase}" for line, phrase in re.findall(r"^(\d+):\d+: ('.+?'): write", found, flags=re.MULTILINE)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The hint is the mend.", ["1 'mend'"]),
        ("All that was started\nis home.", ["1 'All that was started\\nis home'"]),
        ("Who hangs up is not told.", ["1 'Who'", "1 'hangs up'"]),
        ("Who calls Create first?", []),
        ("What nobody has looked at is sent again.", ["1 'What'", "1 'What nobody'", "1 'nobody'"]),
        ("# What it costs\n\nMoney.", []),
        ("It is no record of a run.", ["1 'is no'"]),
        ("There is no Watch; the host is no longer there.", []),
        ('The key `weather` is kept:\n\n```json\n{"mend": "the weather"}\n```\n', []),
    ],
)
def test_a_phrase_in_markdown(text: str, found: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    expected = [line.replace("\\n", " ") for line in found]
    assert lines(path, capsys, 1 if found else 0) == expected


@pytest.mark.parametrize(("place", "line"), [("comment", 2), ("docstring", 3), ("literal", 5), ("formatted", 5)])
def test_a_phrase_in_python_is_found_and_an_identifier_is_not(
    place: str, line: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "module.py"
    path.write_text(PYTHON.format(**PLAIN), encoding="utf-8")
    assert lines(path, capsys, 0) == []
    path.write_text(PYTHON.format(**PLAIN | {place: "the weather took it"}), encoding="utf-8")
    assert {found.split()[0] for found in lines(path, capsys, 1)} == {str(line)}


def test_the_first_word_of_a_docstring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "module.py"
    path.write_text('def f():\n    """Whether it is so."""\n    return "Whether it is so"\n', encoding="utf-8")
    assert lines(path, capsys, 1) == ["2 'Whether'"]


def test_a_phrase_in_a_template_and_in_a_catalogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, catalogue = tmp_path / "page.html.j2", tmp_path / "catalogue.toml"
    page.write_text('<p class="anew" title="try anew">{{ weather }}</p>\n<p>all is home</p>\n', encoding="utf-8")
    assert lines(page, capsys, 1) == ["1 'anew'", "2 'all is home'"]
    catalogue.write_text('anew = "anew"\ntext = "Starts anew."  # not `mend`\n', encoding="utf-8")
    assert lines(catalogue, capsys, 1) == ["2 'anew'"]
