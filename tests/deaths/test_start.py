"""A command that gets a signal while it starts prints one line and exits with its code, without a traceback."""

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


def handles(kit: Kit, number: signal.Signals) -> bool:
    """Returns whether the process handles the signal itself; before that, Python is still starting."""
    status = Path(f"/proc/{kit.process.pid}/status").read_text(encoding="utf-8")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, to see when a process handles signals")
@pytest.mark.timeout(150 + 30 * ROUNDS)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_interrupted_while_it_starts_prints_the_signal(number: signal.Signals) -> None:
    rng = random.Random(number)
    with serving("--machines", "4", "--latency", "20ms") as provider:
        for turn in range(TURNS):
            with running("conformance-run", "--target", provider.address, "--select", "LIF-1a") as kit:
                while not handles(kit, signal.SIGTERM):  # not SIGINT, which Python handles before the kit does
                    assert not kit.ends_within(0.001)
                kit.ends_within(0.8 * (turn + rng.random()) / TURNS if turn else 0)
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
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, to see when a process handles signals")
def test_every_command_prints_the_signal_that_interrupted_it(number: signal.Signals, tmp_path: Path) -> None:
    for command in (("list",), ("sweep", str(tmp_path / "ledger.ndjson"), "--target", "127.0.0.1:1"), ("selftest",)):
        with running("conformance", *command) as kit:
            while not handles(kit, signal.SIGTERM):
                assert not kit.ends_within(0.001)
            kit.signal(number)
            done = kit.done()
        assert (done.code, done.out) == (3, "")
        assert done.err == f"error: interrupted ({number.name})\n"
