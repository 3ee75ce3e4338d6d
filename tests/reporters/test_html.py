"""report.html as text. `test_html_browser.py` tests it in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import pytest

from conformance.core.catalogue import Level
from conformance.reporters.html_report import render
from conformance.results.compare import compare
from conformance.results.report import Home, Report
from conformance.results.result import Status
from conformance.results.waivers import Waived, Waiver, WaiverState
from tests.hostile import TEXTS, report_of
from tests.values import a_call, a_report, a_result

VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text without scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", list[str]()
        self.scripts: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == [], "every element must be closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        match self._open[-1:]:
            case ["script"] | ["style"] as kind:
                self.scripts.append(f"{kind[0]}:{data}")
            case _:
                self.text += data

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]


def page(report: Report) -> Page:
    return Page(render.render(report))


def broken() -> Report:
    return a_report(
        a_result(Status.FAILED, "TST-2a", rests_on=["TST-1a"], reason="so", wanted="x", got="y"),
        a_result(
            Status.FAILED, "TST-1a", reason="so", wanted="a fenced call", got="OK", calls=(a_call(),), decisive=(0,)
        ),
        a_result(Status.WARNED, "TST-3a", level=Level.SHOULD, reason="so", wanted="v", got="w"),
        a_result(Status.SKIPPED, "TST-4a", reason="no TLS"),
        a_result(Status.ERROR, "TST-5a", reason="not answered"),
        a_result(Status.PASSED, "TST-6a", seconds=0.5),
        quarantined=(("m9", "stuck"),),
        notes=("a note",),
    )


def test_the_header_has_verdict_bill_clean_up_target_seed_and_version() -> None:
    text = " ".join(page(broken()).text.split())
    for part in (
        "Non-conformant",
        "2 failed",
        "2 root causes",
        "1 create, 0 configures",
        "0.2500 (by price_per_hour)",
        "all started machines were returned",
        "4 SPECULATIVE",
        "seed 7 · kit 0.1.0",
        "critical path 1.50 s",
    ):
        assert part in text[: text.index("TST-1a")]


def test_causes_come_first_with_their_consequences() -> None:
    seen = page(broken())
    order = [name for name in seen.ids() if name.startswith("TST")]
    assert order == ["TST-1a", "TST-2a", "TST-3a", "TST-5a", "TST-4a", "TST-6a"]
    assert "1 other failure in behaviours that depend on TST-1a: fix TST-1a first" in " ".join(seen.text.split())


def test_a_failure_is_readable_without_javascript() -> None:
    text = " ".join(page(broken()).text.split())
    for part in (
        "TST-1 MUST A clause of a test.",
        "By a test.",
        "wanted a fenced call got OK",
        "This call shows the failure.",
        "Get(m1)",
        "conformance replay /somewhere/events.ndjson TST-1a",
    ):
        assert part in text


def test_reasons_notes_and_quarantined_machines_are_shown() -> None:
    text = page(broken()).text
    for part in ("no TLS", "not answered", "a note", "m9", "stuck"):
        assert part in text


def test_machines_that_were_not_returned_are_shown_with_the_sweep_command() -> None:
    text = " ".join(page(a_report(a_result(), home=Home(left=(("m1", "stuck"),)))).text.split())
    assert (
        "1 machine not returned. To clean up, run: conformance sweep /somewhere/ledger.ndjson --target host:1" in text
    )


def test_machines_that_may_belong_to_another_client_are_shown() -> None:
    text = " ".join(page(a_report(a_result(), home=Home(taken=(("m1", "OK IDLE"),)))).text.split())
    assert "1 machine of this run may belong to another client now. If you are the only client" in text
    assert "all started machines that the run still owns were returned" in text


def test_a_target_that_was_not_reached_has_a_report() -> None:
    text = page(a_report(a_result(Status.ERROR, reason="refused"), found=None, run="", started="", stopped="gone")).text
    assert "not reached" in text
    assert "Inconclusive" in text


def test_an_empty_report_is_rendered() -> None:
    assert "Inconclusive" in page(a_report()).text


def test_the_policy_allows_only_the_pages_own_script_and_style() -> None:
    source = render.render(broken())
    seen = Page(source)
    policy = next(a["content"] for tag, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    style, data, script = seen.scripts
    json.loads(data.removeprefix("script:"))
    for kind, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.partition(":")[2].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_page_has_no_external_references() -> None:
    seen = page(broken())
    for tag, attributes in seen.elements:
        assert tag not in {"iframe", "object", "embed", "base", "form", "img"}
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
    own = [text for text in seen.scripts if not text.startswith("script:{")]
    assert not [word for text in own for word in re.findall(r"https?://[\w./]+", text) if "w3.org" not in word]
    assert not [text for text in own if "innerHTML" in text or "@import" in text or "eval(" in text]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_hostile_text_changes_no_element_of_the_page(text: str) -> None:
    tame, wild = page(report_of("tame")), page(report_of(text))
    assert [tag for tag, _ in wild.elements] == [tag for tag, _ in tame.elements]
    assert [sorted(attributes) for _, attributes in wild.elements] == [sorted(a) for _, a in tame.elements]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_hostile_text_is_truncated_and_printable(text: str) -> None:
    source = render.render(report_of(text))
    source.encode("utf-8")
    assert len(source) < 700_000
    assert all(character.isprintable() or character in "\n" for character in source)


def words(report: Report) -> str:
    return " ".join(page(report).text.split())


def test_changes_since_a_baseline_come_before_the_causes() -> None:
    before = a_report(a_result(Status.PASSED, "TST-1a"), a_result(Status.FAILED, "TST-2a", reason="so", got="y"))
    after = a_report(a_result(Status.FAILED, "TST-1a", reason="so", got="y"), before.results[1])
    text = words(replace(after, comparison=compare(before, after, names=("last week", "now"))))
    assert "Changes since the baseline last week" in text
    assert text.index("1 newly failing TST-1a The title of TST-1a") < text.index("Causes")
    assert "The title of TST-1a newly failing" in text
    assert "The title of TST-2a still failing" in text


def test_no_changes_since_a_baseline_are_shown() -> None:
    report = a_report(a_result())
    assert "no changes" in words(replace(report, comparison=compare(report, report)))


def test_waivers_are_shown_and_stale_ones_are_in_the_header() -> None:
    failed, passed = (
        a_result(Status.FAILED, "TST-1a", reason="so", wanted="x", got="y"),
        a_result(behaviour_id="TST-2a"),
    )
    waivers = tuple(
        Waived(
            waiver=Waiver(id=result.id, reason="soon", owner="ann", expires=date(2030, 1, 2), fingerprint="f"),
            state=state,
            detail="" if state.tolerates else "the behaviour passes; remove the waiver",
        )
        for result, state in ((failed, WaiverState.HOLDS), (passed, WaiverState.STALE))
    )
    text = words(a_report(failed, passed, waivers=waivers, waivers_file="conformance-waivers.toml"))
    assert "Conformant, 1 waived" in text
    assert "The title of TST-1a waived" in text
    assert "Waived until 2030-01-02 by ann: soon" in text
    assert text.index("The waiver of TST-2a is stale: the behaviour passes; remove the waiver") < text.index("Bill")


def test_a_truncated_run_has_an_unknown_clean_up() -> None:
    text = words(a_report(a_result(), home=Home(known=False), stopped="truncated: the log ends before the run does"))
    assert "Truncated: the log ends before the run does" in text
    assert "were returned" not in text
    assert "conformance sweep /somewhere/ledger.ndjson --target host:1" in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 µs"),
        (0.000_42, "420 µs"),
        (0.000_999_7, "1 ms"),
        (0.0123456, "12.3 ms"),
        (0.999_7, "1.00 s"),
        (12.345, "12.35 s"),
        (12345.6, "12,346 s"),
    ],
)
def test_a_duration_has_three_digits_and_a_unit(seconds: float, shown: str) -> None:
    assert render.duration(seconds) == shown
