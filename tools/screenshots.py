"""`python -m tools.screenshots`: judges two providers, and writes screenshots of report.html to docs/screenshots.

The providers are a conformant fake, and one that does not check the token of Drain. The README and the documents show
the screenshots. Install Inter and JetBrains Mono first (Debian: fonts-inter, fonts-jetbrains-mono).
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

import selftest.mutants  # noqa: F401  # registers them
from conformance import lanes
from conformance.engine.options import Options, RunInfo, Timeouts
from conformance.frontends.settings import version
from conformance.reporters.html_report import render
from conformance.results.result import Verdict
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from selftest.judge import SHORT_PATIENCE, judge
from selftest.mutant import MUTANTS
from tools.browser import browsing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FloatRect, Page

    from conformance.results.report import Report

DIRECTORY = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
MUTANT = "DrainIsNotFenced"
COLOURS = 256
MARGIN = 16
"""CSS pixels around an element that is shown alone."""

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")


def reports() -> dict[str, Report]:
    """Returns the reports of a conformant and of a broken provider."""
    timeouts = Timeouts(patience=SHORT_PATIENCE, rpc=5.0, connect=2.0)
    info = RunInfo(version=version(), coverage=lanes.kit_coverage(lanes.default().name))
    options = Options(timeouts=timeouts, seed=7, info=info)
    core = Core(fleet(28), latency=Latency.parse("200ms"))
    made = {
        "conformant": asyncio.run(judge(core, options=options)),
        "broken": asyncio.run(judge(MUTANTS[MUTANT].provider(), options=options)),
    }
    verdicts = {name: report.verdict for name, report in made.items()}
    assert verdicts == {"conformant": Verdict.CONFORMANT, "broken": Verdict.NON_CONFORMANT}, verdicts
    return made


def take_screenshots(browser: Browser, pages: dict[str, Path]) -> None:
    """Takes the screenshots of both themes, and one of a phone."""
    for theme in THEMES:
        with browser.new_context(
            viewport={"width": 1120, "height": 1010}, color_scheme=theme, device_scale_factor=1.5
        ) as desktop:
            page = desktop.new_page()
            open_report(page, pages["conformant"])
            save(f"conformant-{theme}", page.screenshot())
            save(f"fleet-{theme}", page.screenshot(full_page=True, clip=around(page, "#fleet")))
            open_report(page, pages["broken"])
            repeat = around(page, ".cause .repeat")
            top: FloatRect = {"x": 0, "y": 0, "width": 1120, "height": repeat["y"] + repeat["height"]}
            save(f"broken-{theme}", page.screenshot(full_page=True, clip=top))
    with browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme="light", device_scale_factor=2, has_touch=True
    ) as phone:
        page = phone.new_page()
        open_report(page, pages["broken"])
        page.locator(".cause").first.scroll_into_view_if_needed()
        page.evaluate("scrollTo(0, document.querySelector('.causes').offsetTop - 12)")
        save("phone", page.screenshot())


def open_report(page: Page, path: Path) -> None:
    """Opens a report, and waits until its timelines are drawn."""
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector("#fleet .canvas svg")


def around(page: Page, selector: str) -> FloatRect:
    """Returns the rectangle of the first matching element with a margin, in coordinates of the page."""
    page.evaluate("scrollTo(0, 0)")
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return {
        "x": max(0, box["x"] - MARGIN),
        "y": max(0, box["y"] - MARGIN),
        "width": box["width"] + 2 * MARGIN,
        "height": box["height"] + 2 * MARGIN,
    }


def save(name: str, picture: bytes) -> None:
    """Writes one picture, with a palette to save space."""
    path = DIRECTORY / f"{name}.png"
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(f"{path.name:24} {path.stat().st_size // 1024:4} KiB")


def main() -> int:
    """Judges the providers, renders the reports and takes the screenshots."""
    DIRECTORY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        pages = {}
        for name, report in reports().items():
            pages[name] = Path(directory) / f"{name}.html"
            pages[name].write_text(render.render(report), encoding="utf-8")
        try:
            with browsing() as browser:
                take_screenshots(browser, pages)
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
