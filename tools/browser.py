"""A headless Chromium for report.html: the installed one, controlled by playwright, without a download."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
NO_CHROMIUM = "Chromium is not installed: apt-get install chromium, or set CONFORMANCE_CHROMIUM to its path"


def chromium() -> str | None:
    """Returns the path of Chromium; None if it is not installed."""
    given = os.environ.get("CONFORMANCE_CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


def required() -> bool:
    """Returns whether a missing Chromium is a failure: in CI, and if CONFORMANCE_BROWSER is 1."""
    return os.environ.get("CI") == "true" or os.environ.get("CONFORMANCE_BROWSER") == "1"


@contextmanager
def browsing() -> Iterator[Browser]:
    """Yields a browser, and closes it when the context ends. Raises RuntimeError if Chromium is not installed.

    While it is open, playwright's event loop runs in this thread, so `asyncio.run` cannot be used.
    """
    path = chromium()
    if path is None:
        raise RuntimeError(NO_CHROMIUM)
    # Chromium's sandbox does not work for root in a container.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options, timeout=60_000)
        try:
            yield browser
        finally:
            browser.close()
