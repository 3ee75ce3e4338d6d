"""A run that is told to end ends in good order, at whatever moment it is told."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.provider_process import ROUNDS, SOME, judge, running, serving

if TYPE_CHECKING:
    from pathlib import Path

PROVIDERS = {
    "at once": (),
    "50 ms": ("--latency", "50ms"),
    "300 ms": ("--latency", "300ms"),
    "every RPC 50 ms": ("--rpc-delay", "50ms"),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def providers() -> list[str]:
    """All of them where somebody asks for many rounds."""
    return list(PROVIDERS)[: None if ROUNDS > 4 else 2]


def deaths() -> list[tuple[signal.Signals, str]]:
    """Every signal to every run; on ordinary days each signal once."""
    every = [(number, kind) for number in SIGNALS for kind in providers()]
    return every if ROUNDS > 4 else [every[0], every[-1]]


@pytest.mark.timeout(60 + 15 * ROUNDS)
@pytest.mark.parametrize(("number", "kind"), deaths())
def test_interrupted_at_any_moment_it_leaves_nothing(number: signal.Signals, kind: str, tmp_path: Path) -> None:
    draw = random.Random(f"{number.name} {kind}")
    with serving("--machines", "16", *PROVIDERS[kind]) as provider:
        began = time.monotonic()
        assert judge(provider, *SOME, directory=tmp_path / "whole").code == 0
        whole = time.monotonic() - began
        command = ("conformance-run", "--target", provider.address, *SOME)
        for turn in range(ROUNDS):
            moment = whole * (turn + draw.random()) / ROUNDS
            with running(*command, "--report-dir", str(tmp_path / str(turn))) as kit:
                over = kit.ends_within(moment)
                kit.signal(number)
                done = kit.done()
            assert provider.away() == {}, done.text
            if over or "CONFORMANT: " in done.verdict.replace("INCONCLUSIVE", ""):
                # All had been judged: the signal found it on its way home, or on its way out.
                assert done.code == 0, done.text
            elif done.verdict:
                assert done.code == 3, done.text
                assert "stopped: interrupted" in done.verdict
                assert "Traceback" not in done.text
                assert "Warning" not in done.text
            else:
                # Before it had read its own options; and Python itself hears nothing for the first 20 ms.
                assert done.code in (3, -number, 1), done.text
                assert "target  " not in done.out, done.text


def test_interrupted_while_nobody_answers_it_ends_at_once(tmp_path: Path) -> None:
    with serving("--rpc-delay", "600s") as provider:
        command = ("conformance-run", "--target", provider.address, "--report-dir", str(tmp_path / "report"))
        with running(*command) as kit:
            while not (tmp_path / "report" / "events.ndjson").exists():
                assert not kit.ends_within(0.01)
            kit.ends_within(0.5)
            began = time.monotonic()
            kit.signal(signal.SIGTERM)
            done = kit.done()
        assert time.monotonic() - began < 10
        assert done.code == 3
        assert "interrupted (SIGTERM) before anything was started" in done.verdict
        assert "Traceback" not in done.text
        assert not (tmp_path / "report" / "ledger.ndjson").exists()


def test_the_second_signal_ends_it_at_once_and_names_the_ledger(tmp_path: Path) -> None:
    with serving("--machines", "4", "--latency", "600s") as provider:
        ledger = tmp_path / "ledger.ndjson"
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a")
        with running(*command, "--report-dir", str(tmp_path)) as kit:
            assert kit.says("ledger").endswith(f"{ledger}\n")
            while not provider.away():
                assert not kit.ends_within(0.01)
            kit.signal(signal.SIGINT)
            assert not kit.ends_within(0.3)  # it waits for the machine, to bring it home
            began = time.monotonic()
            kit.signal(signal.SIGINT)
            done = kit.done()
        assert time.monotonic() - began < 5
        assert done.code == 3
        assert f"conformance sweep {ledger} --target {provider.address}" in done.err
        assert "Traceback" not in done.text
        assert "never" not in done.text
        assert list(provider.away()) != []


def test_a_signal_after_another_reason_to_stop_is_still_the_first(tmp_path: Path) -> None:
    with serving("--machines", "4", "--latency", "create=1500ms") as provider:
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a", "--timeout", "500ms")
        with running(*command, "--report-dir", str(tmp_path)) as kit:
            assert kit.says("ledger")
            kit.ends_within(1)
            kit.signal(signal.SIGINT)
            done = kit.done()
        assert done.code == 3
        assert provider.away() == {}
        assert "all started machines were returned" in done.out
