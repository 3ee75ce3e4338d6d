"""Finds the proxies for the tests of this run, and judges a provider behind one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.proxies.proxies import Proxy, ProxyError, installed_envoy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.proxies.proxies import Serving

MODE: Final = os.environ.get("CONFORMANCE_PROXIES", "")
"""Empty: none, for they take minutes. `required`: each proxy plain and with TLS. `all`: every latency too."""
RUN_LIMIT: Final = 300.0
"""Seconds for one run of the kit; about fifteen on an idle machine."""
LAST_CALLS: Final = 30
"""The calls of a behaviour in the message of a failed test: the crowd of FEN-11 has 18."""


def ready(proxy: Proxy, mode: str = MODE) -> str:
    """Returns the path of the proxy's executable. Skips the test without a mode; fails it if the proxy is missing."""
    if not mode:
        pytest.skip("the runs behind real proxies take minutes: make proxies")
    if path := proxy.find():
        return path
    if proxy.package:
        pytest.fail(f"{proxy.name} is missing: apt-get install --no-install-recommends {proxy.package}")
    try:
        return installed_envoy()
    except ProxyError as error:
        pytest.fail(str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run of the kit."""

    code: int
    out: str
    err: str
    report: dict[str, Any]
    """The content of report.json; empty if it was not written."""
    page: str
    """The content of report.html; empty if it was not written."""

    def statuses(self) -> dict[str, str]:
        """Returns the status by behaviour."""
        return {each["id"]: each["status"] for each in self.report.get("behaviours", ())}

    def problems(self) -> str:
        """Returns the behaviours that are neither passed nor skipped, with the last answers to their calls."""
        bad = [each for each in self.report["behaviours"] if each["status"] in ("failed", "error", "warned")]
        return "\n".join(
            f"{each['status']} {each['id']}: {each['reason']} (wanted {each['wanted']}, got {each['got']})"
            + "".join(f"\n    {call['rpc']}: {call['outcome']}" for call in each["calls"][-LAST_CALLS:])
            for each in bad
        )


def started(proxy: Serving, directory: Path, *options: str) -> subprocess.Popen[str]:
    """Starts the kit's command on the provider behind the proxy."""
    command = [sys.executable, "-m", "conformance", "run", "--no-config", "--no-waivers", "--quiet"]
    return subprocess.Popen(
        [*command, "--target", proxy.address, "--report-dir", str(directory), *proxy.options, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str], directory: Path) -> Run:
    """Waits for the kit's command, for RUN_LIMIT seconds at most."""
    try:
        out, err = process.communicate(timeout=RUN_LIMIT)
    finally:
        process.kill()
        process.wait()
    report, page = directory / "report.json", directory / "report.html"
    return Run(
        code=process.returncode,
        out=out,
        err=err,
        report=json.loads(report.read_text()) if report.exists() else {},
        page=page.read_text() if page.exists() else "",
    )


def run(proxy: Serving, directory: Path, *options: str) -> Run:
    """Judges the provider behind the proxy with the kit's command."""
    return finished(started(proxy, directory, *options), directory)
