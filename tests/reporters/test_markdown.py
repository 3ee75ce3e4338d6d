from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from conformance.core.text import escape_markdown
from conformance.reporters import markdown
from conformance.results.report import Home
from conformance.results.result import Status
from tests.values import a_call, a_report, a_result


def html(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).render(text))


def test_a_conformant_run_has_verdict_bill_and_clean_up() -> None:
    text = markdown.render(a_report(a_result(), a_result(Status.SKIPPED, "TST-2a", reason="the target is slow")))
    assert text.startswith("# Capacity provider: conformant\n\n1 passed, 1 skipped\n")
    assert "bill       1 create, 0 configures, 0 drains, 1 delete, " in text
    assert "clean-up   all started machines were returned" in text
    assert "## Failures" not in text
    assert "<details><summary>Skipped: 1</summary>\n\n- TST-2a: `the target is slow`\n\n</details>" in text


def test_a_cause_has_clause_decisive_calls_and_folded_consequences() -> None:
    calls = tuple(a_call(details=f"number {n}", code=a_call().code.ABORTED) for n in range(9))
    cause = a_result(
        Status.FAILED, "TST-1a", reason="TST-1: so", wanted="silence", got="a shout", calls=calls, decisive=(3, 7)
    )
    other = a_result(Status.FAILED, "TST-2a", reason="TST-2: so", got="an echo", rests_on=["TST-1a"])
    text = markdown.render(a_report(other, cause))
    assert "### FAILED TST-1a: The title of TST\\-1a" in text
    assert "**TST-1** MUST: A clause of a test." in text
    assert "wanted  silence\ngot     a shout\ncalls   2 decisive of 9 calls\n" in text
    assert [n for n in range(9) if f"number {n}" in text] == [3, 7]
    assert "<details><summary>1 other failure in behaviours that depend on TST-1a</summary>" in text
    assert "- **TST-2a** The title of TST\\-2a: `an echo`" in text
    assert "### FAILED TST-2a" not in text


def test_missing_capabilities_unjudged_behaviours_and_notes_are_shown() -> None:
    error = a_result(Status.ERROR, "TST-2a", reason="no answer")
    text = markdown.render(a_report(a_result(), error, lacking=("delete",), notes=("a note",)))
    assert "**FAILED** the target does not have `delete`, required by `--require`" in text
    assert "<details><summary>Not judged: 1</summary>\n\n- TST-2a: `no answer`" in text
    assert "## Notes\n\n- `a note`" in text


def test_a_truncated_run_is_marked() -> None:
    text = markdown.render(a_report(a_result(), home=Home(known=False), stopped="truncated: the log ends"))
    assert text.startswith("# Capacity provider: inconclusive\n\n1 passed · truncated: the log ends\n")
    assert "clean-up   unknown" in text


def test_a_long_report_omits_sections_with_a_note() -> None:
    broken = [
        a_result(Status.FAILED, f"TST-{n}a", reason="r", wanted="w" * 5000, got="g" * 5000) for n in range(1, 200)
    ]
    text = markdown.render(a_report(*broken))
    assert 40_000 < len(text) <= markdown.MAX_CHARACTERS
    assert re.search(r"\*\d+ more sections are omitted, because comments are limited in size", text)
    assert "### FAILED TST-1a" in text


def test_long_lists_are_truncated() -> None:
    others = [
        a_result(Status.FAILED, f"TST-{n}a", reason="r", got="g" * 500, rests_on=["TST-1a"]) for n in range(2, 300)
    ]
    machines = tuple((f"m{n}", "stuck") for n in range(100))
    text = markdown.render(a_report(a_result(Status.FAILED, reason="r"), *others, home=Home(left=machines)))
    assert len(text) <= markdown.MAX_CHARACTERS
    assert "298 other failures in behaviours that depend on TST-1a" in text
    assert "- and 268 more\n" in text
    assert "sections are omitted" not in text


@given(st.text(min_size=1))
def test_any_text_is_one_code_span(text: str) -> None:
    (paragraph,) = html(f"before {markdown.code(text)} after").splitlines()
    assert re.fullmatch(r"<p>before (<code>[^<]*</code>|<em>empty</em>) after</p>", paragraph)


@given(st.text())
def test_plain_text_has_no_markup_and_no_mentions(text: str) -> None:
    shown = html(f"before {escape_markdown(text)} after")
    assert set(re.findall(r"<[^>]*>", shown)) == {"<p>", "</p>"}
    assert not re.search(r"@[A-Za-z]", shown)


@pytest.mark.parametrize("text", ["`", "``", "a`b``c", " a ", "`a", "\\", "<b>", "|", "@x"])
def test_code_preserves_the_text(text: str) -> None:
    shown = html(f"x {markdown.code(text)}").removeprefix("<p>x <code>").removesuffix("</code></p>\n")
    assert shown.replace("&lt;", "<").replace("&gt;", ">") == text
