"""report.html in headless Chromium, also without mouse and without JavaScript."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

import selftest.mutants  # noqa: F401  # registers them
from conformance.core import catalogue
from conformance.core.lifecycle import Verb
from conformance.reporters.html_report import render
from conformance.results.result import Result, Status
from selftest.judge import judge_mutant_over_tcp
from selftest.mutant import MUTANTS
from tests.hostile import TEXTS, report_of
from tests.values import a_call, a_report
from tools.browser import NO_CHROMIUM, browsing, chromium, required

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from conformance.results.report import Report

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(chromium() is None and not required(), reason=NO_CHROMIUM),
]

CALLS = 20_000
STATES = pb.MachineState.keys()


@pytest.fixture(scope="module")
def broken() -> Report:
    """Returns the report of a real run against a provider that does not fence Drain."""
    return asyncio.run(judge_mutant_over_tcp(MUTANTS["DrainIsNotFenced"], select=["FEN", "LIF-1", "LIF-8"], seed=7))


@pytest.fixture(scope="module")
def browser(broken: Report) -> Iterator[Browser]:
    """Yields one browser for all tests. It starts after the real run, because both need the thread's event loop."""
    with browsing() as started:
        yield started


@contextmanager
def open_report(browser: Browser, path: Path, report: Report, *, at: str = "", **options: Any) -> Iterator[Page]:
    """Yields the report in a new window. Fails on errors, warnings and requests until the end."""
    file = path / "report.html"
    file.write_text(render.render(report), encoding="utf-8")
    problems: list[str] = []
    with browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | options)) as window:
        page = window.new_page()
        page.on("console", lambda message: problems.append(f"console: {message.text[:300]}"))
        page.on("pageerror", lambda error: problems.append(f"error: {str(error)[:300]}"))
        page.on("dialog", lambda dialog: problems.append("a dialog"))
        page.on(
            "request", lambda asked: problems.append(f"request: {asked.url[:300]}") if is_fetch(asked.url) else None
        )
        page.goto(file.as_uri() + at)
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]")
        yield page
    assert problems == []


def test_a_missing_browser_fails_if_it_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CI", "CONFORMANCE_BROWSER", "CONFORMANCE_CHROMIUM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    assert chromium() is None
    assert not required()
    for name, value in (("CI", "true"), ("CONFORMANCE_BROWSER", "1")):
        with monkeypatch.context() as said:
            said.setenv(name, value)
            assert required()
    with pytest.raises(RuntimeError, match="apt-get install chromium"), browsing():
        pass


def is_fetch(url: str) -> bool:
    return not url.startswith("data:") and "/report.html" not in url


def cause(report: Report) -> Result:
    return next(result for result in report.results if result.id == "FEN-7d")


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.closest('.behaviour')?.id ?? ''"))


def shown(page: Page) -> list[str]:
    return list(page.locator(".behaviour:visible").evaluate_all("nodes => nodes.map(node => node.id)"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_report_opens_in_both_themes_with_the_timeline_of_its_cause(
    browser: Browser, broken: Report, tmp_path: Path, theme: Any
) -> None:
    with open_report(browser, tmp_path, broken, color_scheme=theme) as page:
        dark = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]) < 128")
        assert dark == (theme == "dark")
        assert page.locator("#FEN-7d .mark .ring").count() == len(cause(broken).decisive) == 2
        assert page.locator("#FEN-7d .canvas").inner_text().count(cause(broken).machines[0]) == 1
        assert page.locator("#fleet .span").count() == sum(bool(result.calls) for result in broken.results)


def test_the_theme_can_be_changed_and_is_stored(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken, color_scheme="light") as page:
        page.click(".theme")
        assert page.get_attribute("html", "data-theme") == "dark"
        page.reload()
        page.wait_for_selector("html[data-theme=dark]")
        page.keyboard.press("t")
        assert page.get_attribute("html", "data-theme") == "light"


def test_decisive_calls_are_numbered_in_the_timeline_and_explained(
    browser: Browser, broken: Report, tmp_path: Path
) -> None:
    with open_report(browser, tmp_path, broken) as page:
        assert page.locator("#FEN-7d .flag").all_text_contents() == ["1", "2"]
        roles = page.locator("#FEN-7d .role b").all_inner_texts()
        assert roles == ["This call set the mark.", "This call should have been fenced."]
        shown_text = page.locator("#FEN-7d .inspector").inner_text()
        assert "Drain" in shown_text
        assert "epoch 1 · sequence 3" in shown_text


def test_a_deep_link_opens_its_behaviour(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken, at="#fen-7a") as page:
        assert page.locator(".consequences").get_attribute("open") is not None
        page.locator("#FEN-7a .canvas svg").wait_for()
        assert focused(page) == "FEN-7a"
        page.fill("input[type=search]", "LIF-1a")
        page.evaluate("location.hash = '#FEN-5d'")
        page.locator("#FEN-5d .canvas svg").wait_for()
        assert page.input_value("input[type=search]") == ""


def test_a_link_to_an_unknown_behaviour_has_no_effect(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken, at="#%E0%A4%A</script>") as page:
        assert page.locator(".behaviour").count() == len(broken.results)


def test_chips_and_search_filter_and_escape_shows_all(browser: Browser, broken: Report, tmp_path: Path) -> None:
    skipped = [result.id for result in broken.results if result.status is Status.SKIPPED]
    assert skipped
    with open_report(browser, tmp_path, broken) as page:
        page.click("[data-show=skipped]")
        assert sorted(shown(page)) == sorted(skipped)
        assert page.locator(".hits").inner_text() == f"{len(skipped)} of {len(broken.results)} behaviours"
        page.click("[data-show='']")
        page.keyboard.press("/")
        page.keyboard.type("fence DRAIN should have been")
        assert "FEN-7d" in shown(page)
        assert "LIF-1a" not in shown(page)
        page.keyboard.press("Escape")
        assert page.locator("[data-group] .behaviour[hidden]").count() == 0
        assert page.locator(".hits").is_hidden()


def test_a_search_without_hits_shows_zero(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken) as page:
        page.fill("input[type=search]", "no such words")
        assert shown(page) == []
        assert page.locator(".hits").inner_text().startswith("0 of ")


def test_a_report_can_be_read_with_the_keyboard_alone(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken) as page:
        order = shown(page)
        page.keyboard.press("j")
        assert focused(page) == order[0] == "FEN-7d"
        page.keyboard.press("j")
        assert focused(page) == order[1]
        page.keyboard.press("Enter")
        page.locator(f"#{order[1]} .canvas svg").wait_for()
        page.keyboard.press("k")
        assert focused(page) == "FEN-7d"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        # In the search field, j and k are text.
        page.keyboard.press("/")
        page.keyboard.type("jk")
        assert page.input_value("input[type=search]") == "jk"


def test_arrow_keys_move_in_a_timeline_with_one_tab_stop(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken) as page:
        marks = page.locator("#FEN-7d .mark")
        assert page.locator("#FEN-7d .mark[tabindex='0']").count() == 1
        marks.first.focus()
        first = page.locator("#FEN-7d .inspector").inner_text()
        page.keyboard.press("End")
        last = page.locator("#FEN-7d .inspector").inner_text()
        assert first != last
        assert marks.last.get_attribute("tabindex") == "0"
        page.keyboard.press("Home")
        assert page.locator("#FEN-7d .inspector").inner_text() == first


def test_hovering_a_mark_shows_request_response_code_and_time(browser: Browser, broken: Report, tmp_path: Path) -> None:
    result = cause(broken)
    stale = result.calls[result.decisive[-1]]
    with open_report(browser, tmp_path, broken) as page:
        page.locator("#FEN-7d .shape").first.hover()
        page.locator("#FEN-7d .mark:has(.ring) .shape").last.hover()
        shown_text = page.locator("#FEN-7d .inspector").inner_text()
        for part in (stale.rpc, stale.code.name, stale.request_text(), stale.outcome(), f"{stale.started:.3f} s"):
            assert part in shown_text


def test_the_table_has_all_calls_and_marks_decisive_ones(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken) as page:
        page.click("#FEN-7d .calls > summary")
        rows = page.locator("#FEN-7d .calls tbody tr")
        rows.first.wait_for()
        assert page.locator("#FEN-7d .calls tr.decisive").count() == 2
        mutating = sum(call.token is not None for call in cause(broken).calls)
        assert mutating <= rows.count() <= len(cause(broken).calls)


def test_a_span_links_to_its_behaviour(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken) as page:
        page.locator("#fleet .span[aria-label^='LIF-1a ']").focus()
        assert "LIF-1a" in page.locator("#fleet .inspector").inner_text()
        page.keyboard.press("Enter")
        page.locator("#LIF-1a .canvas svg").wait_for()
        assert focused(page) == "LIF-1a"


def test_the_page_fits_a_phone(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken, viewport={"width": 360, "height": 780}, has_touch=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("#FEN-7d .mark").first.tap()
        assert page.locator("#FEN-7d .inspector").is_visible()


def test_print_expands_all_causes_and_restores_the_page(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken, color_scheme="dark") as page:
        before = page.locator("details[open]").count()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator(".causes .behaviour:not([open])").count() == 0
        assert page.locator(".causes .canvas svg").count() == page.locator(".causes .behaviour").count()
        assert page.locator(".tools").is_hidden()
        assert "rgb(27, 28, 30)" in page.evaluate("getComputedStyle(document.body).color")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details[open]").count() == before


def test_without_javascript_causes_show_wanted_and_got(browser: Browser, broken: Report, tmp_path: Path) -> None:
    with open_report(browser, tmp_path, broken, java_script_enabled=False) as page:
        text = page.locator("#FEN-7d").inner_text()
        assert cause(broken).wanted in text
        assert cause(broken).got in text
        assert "This call should have been fenced" in text
        assert page.locator(".tools").is_hidden()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_hostile_text_has_no_effect_and_is_shown(browser: Browser, tmp_path: Path, text: str) -> None:
    report = report_of(text)
    with open_report(browser, tmp_path, report) as page:
        for result in report.results:
            page.evaluate("id => { location.hash = '#' + id }", result.id)
            page.locator(f"#{result.id} .canvas svg").wait_for()
            page.locator(f"#{result.id} .calls > summary").click()
            page.locator(f"#{result.id} .calls tbody tr").first.wait_for()
            page.locator(f"#{result.id} .shape").last.hover()
        page.locator("#fleet .span").first.focus()
        assert page.evaluate("window.harm") is None
        assert page.locator("img, iframe, object, body script:not([type]) ~ script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 1200
        beginning = "".join(c for c in text[:40] if c.isprintable())
        assert beginning[:15] in str(page.evaluate("document.body.textContent"))


def a_large_report() -> Report:
    """Returns a report with every behaviour of the catalogue and 20,000 different calls."""
    entries = catalogue.load().entries
    each = CALLS // len(entries) + 1
    verbs = {
        Verb.CREATE: pb.CreateRequest,
        Verb.CONFIGURE: pb.ConfigureRequest,
        Verb.DRAIN: pb.DrainRequest,
        Verb.DELETE: pb.DeleteRequest,
    }
    results = []
    for number, entry in enumerate(entries):
        calls = []
        for place in range(each):
            verb, request = list(verbs.items())[place % 4]
            asked = request(machine_id=f"machine-{number:04}", shard_id=entry.id, shard_epoch=1, sequence_number=place)
            machine = pb.Machine(id=f"machine-{number:04}", state=STATES[place % 8])
            ack = pb.TransitionAck(operation_id=f"op-{number}-{place}", machine=machine)
            started = number * 0.01 + place * 0.005
            calls.append(replace(a_call(verb, asked, response=ack), started=started, ended=started + 0.002))
        results.append(
            Result(
                entry=entry,
                status=Status.FAILED if number % 5 == 0 else Status.PASSED,
                reason="so",
                wanted="x",
                got="y",
                started=number * 0.01,
                seconds=each * 0.005,
                machines=(f"machine-{number:04}",),
                calls=tuple(calls),
                decisive=(3, 7) if number % 5 == 0 else (),
            )
        )
    return a_report(*results)


def test_a_report_with_20000_calls_is_usable(browser: Browser, tmp_path: Path) -> None:
    report = a_large_report()
    assert sum(len(result.calls) for result in report.results) >= CALLS
    last = report.results[-1].id
    with open_report(browser, tmp_path, report) as page:
        assert (tmp_path / "report.html").stat().st_size < 12_000_000
        assert page.locator(".behaviour").count() == len(report.results)
        page.fill("input[type=search]", last)
        assert shown(page) == [last]
        page.keyboard.press("Escape")
        page.evaluate("id => { location.hash = '#' + id }", last)
        page.locator(f"#{last} .canvas svg").wait_for()
        assert page.locator(f"#{last} .mark").count() == len(report.results[-1].calls)
