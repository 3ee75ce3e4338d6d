"""A run that gets a signal at any moment returns all machines and exits with its code."""

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
    """Returns the names of the providers to test; all of them only in the long form."""
    return list(PROVIDERS)[: None if ROUNDS > 4 else 2]


def deaths() -> list[tuple[signal.Signals, str]]:
    """Returns the pairs of signal and provider to test: all in the long form, otherwise two."""
    every = [(number, kind) for number in SIGNALS for kind in providers()]
    return every if ROUNDS > 4 else [every[0], every[-1]]


@pytest.mark.timeout(60 + 15 * ROUNDS)
@pytest.mark.parametrize(("number", "kind"), deaths())
def test_a_run_interrupted_at_any_moment_leaves_no_machine(number: signal.Signals, kind: str, tmp_path: Path) -> None:
    rng = random.Random(f"{number.name} {kind}")
    with serving("--machines", "16", *PROVIDERS[kind]) as provider:
        began = time.monotonic()
        assert judge(provider, *SOME, directory=tmp_path / "whole").code == 0
        whole = time.monotonic() - began
        command = ("conformance-run", "--target", provider.address, *SOME)
        for turn in range(ROUNDS):
            moment = whole * (turn + rng.random()) / ROUNDS
            with running(*command, "--report-dir", str(tmp_path / str(turn))) as kit:
                over = kit.ends_within(moment)
                kit.signal(number)
                done = kit.done()
            assert provider.away() == {}, done.text
            if over or "CONFORMANT: " in done.verdict.replace("INCONCLUSIVE", ""):
                # All behaviours had been judged: the signal came during the clean-up or at the exit.
                assert done.code == 0, done.text
            elif done.verdict:
                assert done.code == 3, done.text
                assert "stopped: interrupted" in done.verdict
                assert "Traceback" not in done.text
                assert "Warning" not in done.text
            else:
                # The signal came before the options were read. In its first 20 ms Python handles no signals.
                assert done.code in (3, -number, 1), done.text
                assert "target  " not in done.out, done.text


def test_an_interrupt_ends_a_run_whose_provider_does_not_answer(tmp_path: Path) -> None:
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
        assert "interrupted (SIGTERM) before any machine was started" in done.verdict
        assert "Traceback" not in done.text
        assert not (tmp_path / "report" / "ledger.ndjson").exists()


def test_the_second_signal_ends_the_run_at_once_and_names_the_ledger(tmp_path: Path) -> None:
    with serving("--machines", "4", "--latency", "600s") as provider:
        ledger = tmp_path / "ledger.ndjson"
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a")
        with running(*command, "--report-dir", str(tmp_path)) as kit:
            assert kit.says("ledger").endswith(f"{ledger}\n")
            while not provider.away():
                assert not kit.ends_within(0.01)
            kit.signal(signal.SIGINT)
            assert not kit.ends_within(0.3)  # it waits for the machine, in order to return it
            began = time.monotonic()
            kit.signal(signal.SIGINT)
            done = kit.done()
        assert time.monotonic() - began < 5
        assert done.code == 3
        assert f"conformance sweep {ledger} --target {provider.address}" in done.err
        assert "Traceback" not in done.text
        assert "never" not in done.text
        assert list(provider.away()) != []


def test_the_first_signal_after_a_timeout_does_not_cancel_the_cleanup(tmp_path: Path) -> None:
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
