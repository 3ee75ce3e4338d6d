"""A command that is told to end while it starts ends with a line and its code, not with a traceback."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path

import pytest

from tests.provider_process import ROUNDS, Kit, running, serving

pytestmark = pytest.mark.timeout(150)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

TURNS = max(2, ROUNDS // 2)


def hears(kit: Kit, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for the signal: before that, Python itself is not up."""
    status = Path(f"/proc/{kit.process.pid}/status").read_text(encoding="utf-8")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, to see when a process hears signals")
@pytest.mark.timeout(150 + 30 * ROUNDS)
@pytest.mark.parametrize("number", SIGNALS)
def test_interrupted_while_it_starts_it_says_so(number: signal.Signals) -> None:
    draw = random.Random(number)
    with serving("--machines", "4", "--latency", "20ms") as provider:
        for turn in range(TURNS):
            with running("conformance-run", "--target", provider.address, "--select", "LIF-1a") as kit:
                while not hears(kit, signal.SIGTERM):  # Python has one for SIGINT before we have
                    assert not kit.ends_within(0.001)
                kit.ends_within(0.8 * (turn + draw.random()) / TURNS if turn else 0)
                kit.signal(number)
                done = kit.done()
            assert "Traceback" not in done.text, done.text
            assert "Exception" not in done.text, done.text
            assert provider.away() == {}
            if "CONFORMANT: " in done.verdict.replace("INCONCLUSIVE", ""):
                assert done.code == 0, done.text
            else:
                assert done.code == 3, done.text
                assert f"interrupted ({number.name})" in done.text


@pytest.mark.parametrize("number", SIGNALS if ROUNDS > 4 else SIGNALS[:1])
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, to see when a process hears signals")
def test_every_command_is_ended_so(number: signal.Signals, tmp_path: Path) -> None:
    for command in (("list",), ("sweep", str(tmp_path / "ledger.ndjson"), "--target", "127.0.0.1:1"), ("selftest",)):
        with running("conformance", *command) as kit:
            while not hears(kit, signal.SIGTERM):
                assert not kit.ends_within(0.001)
            kit.signal(number)
            done = kit.done()
        assert (done.code, done.out) == (3, "")
        assert done.err == f"error: interrupted ({number.name})\n"
