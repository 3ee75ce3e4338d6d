"""A headless Chromium for report.html: the system's own, driven by playwright; nothing is downloaded."""

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
LACKING = "no Chromium is installed: apt-get install chromium, or say where one is with CONFORMANCE_CHROMIUM"


def chromium() -> str | None:
    """Where Chromium is; None where there is none."""
    given = os.environ.get("CONFORMANCE_CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


def required() -> bool:
    """Whether a machine without Chromium is a failure: in CI, and wherever somebody says so."""
    return os.environ.get("CI") == "true" or os.environ.get("CONFORMANCE_BROWSER") == "1"


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser, until the context ends. Raises RuntimeError where there is no Chromium.

    While it is open, playwright's loop is the thread's running one: `asyncio.run` is for before and after.
    """
    path = chromium()
    if path is None:
        raise RuntimeError(LACKING)
    # Root has no sandbox in a container.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options, timeout=60_000)
        try:
            yield browser
        finally:
            browser.close()
