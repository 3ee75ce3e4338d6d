"""Two runs at once: each judges on machines of its own, and neither spoils what the other writes."""

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


def test_one_that_is_killed_leaves_the_other_alone_and_is_swept_beside_it(tmp_path: Path) -> None:
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


def test_the_second_run_into_one_report_directory_is_refused_and_spoils_nothing(tmp_path: Path) -> None:
    with serving("--machines", "8", "--latency", "500ms") as provider:
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a", "--report-dir", str(tmp_path))
        with running(*command) as first:
            while not provider.away():
                assert not first.ends_within(0.005)
            first.signal(signal.SIGSTOP)  # it lives as long as this takes
            second = judge(provider, directory=tmp_path)
            first.signal(signal.SIGCONT)
            done = first.done()
        assert second.code == 2, second.text
        assert second.err.splitlines()[0].endswith(" belongs to a run that is still active")
        assert done.code == 0, done.text
        assert provider.away() == {}
        for name in ("events.ndjson", "report.json"):
            assert reader.read(tmp_path / name).verdict is Verdict.CONFORMANT


def test_of_two_runs_that_start_together_into_one_report_directory_one_is_whole(tmp_path: Path) -> None:
    with serving("--machines", "8", "--latency", "300ms") as provider, ExitStack() as stack:
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a", "--report-dir", str(tmp_path))
        both = [stack.enter_context(running(*command)) for _ in range(2)]
        ends = sorted((kit.done() for kit in both), key=lambda done: done.code)
        assert provider.away() == {}
    assert ends[0].code == 0, ends[0].text
    assert ends[1].code in (0, 2), ends[1].text  # where one was over before the other had begun, both are whole
    assert "Traceback" not in ends[1].text
    for name in ("events.ndjson", "report.json"):
        assert reader.read(tmp_path / name).verdict is Verdict.CONFORMANT
