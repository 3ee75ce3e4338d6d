"""Two concurrent runs: each uses its own machines, and neither changes the other's files."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from conformance.results import reader
from conformance.results.result import Verdict
from tests.provider_process import SOME, judge, running, serving, sweep

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(150)


def test_a_killed_run_is_swept_while_another_run_continues(tmp_path: Path) -> None:
    with serving("--machines", "24", "--latency", "100ms") as provider, ExitStack() as stack:
        command = ("conformance-run", "--target", provider.address, *SOME, "--report-dir")
        dies, lives = (stack.enter_context(running(*command, str(tmp_path / name))) for name in ("dies", "lives"))
        path = tmp_path / "dies" / "ledger.ndjson"
        while not path.exists() or '"seen": "IDLE"' not in path.read_text(encoding="utf-8"):
            assert not dies.ends_within(0.005)
        dies.signal(signal.SIGKILL)
        dies.done()
        swept = sweep(provider, path)
        assert swept.code == 0, swept.text
        done = lives.done()
        assert done.code == 0, done.text
        assert provider.away() == {}


def test_a_second_run_with_the_same_report_directory_is_refused(tmp_path: Path) -> None:
    with serving("--machines", "8", "--latency", "500ms") as provider:
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a", "--report-dir", str(tmp_path))
        with running(*command) as first:
            while not provider.away():
                assert not first.ends_within(0.005)
            first.signal(signal.SIGSTOP)  # keeps the first run alive during the second
            second = judge(provider, directory=tmp_path)
            first.signal(signal.SIGCONT)
            done = first.done()
        assert second.code == 2, second.text
        assert second.err.splitlines()[0].endswith(" belongs to a run that still lives")
        assert done.code == 0, done.text
        assert provider.away() == {}
        for name in ("events.ndjson", "report.json"):
            assert reader.read(tmp_path / name).verdict is Verdict.CONFORMANT


def test_one_of_two_concurrent_runs_with_the_same_report_directory_succeeds(tmp_path: Path) -> None:
    with serving("--machines", "8", "--latency", "300ms") as provider, ExitStack() as stack:
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a", "--report-dir", str(tmp_path))
        both = [stack.enter_context(running(*command)) for _ in range(2)]
        ends = sorted((kit.done() for kit in both), key=lambda done: done.code)
        assert provider.away() == {}
    assert ends[0].code == 0, ends[0].text
    assert ends[1].code in (0, 2), ends[1].text  # 0 if the first ended before the second began
    assert "Traceback" not in ends[1].text
    for name in ("events.ndjson", "report.json"):
        assert reader.read(tmp_path / name).verdict is Verdict.CONFORMANT
