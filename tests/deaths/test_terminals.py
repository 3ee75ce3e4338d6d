"""Whoever looks on may go away: a terminal that is closed, a reader that has seen enough, an output that is full."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.results import reader
from conformance.results.result import Verdict
from tests.provider_process import LIMIT, ROUNDS, run, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.provider_process import Provider

pytestmark = pytest.mark.timeout(150)

RUN = str(Path(sys.executable).with_name("conformance-run"))


TAKES_THE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Becomes a command that a terminal controls. Not by a fork of ours: gRPC's threads do not outlive one."""


class Terminal:
    """A command in a session of its own, on a terminal that is ours to close."""

    def __init__(self, *command: str, errors: Path) -> None:
        self._master, slave = os.openpty()
        # Its errors go where they can still be read when the terminal has gone.
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                (sys.executable, "-c", TAKES_THE_TERMINAL, *command),
                stdin=slave,
                stdout=slave,
                stderr=file,
                start_new_session=True,
            )
        os.close(slave)

    def shows(self, text: str) -> None:
        """Read what it shows until `text` has come."""
        seen = b""
        while text.encode() not in seen:
            seen += os.read(self._master, 1024)

    def close(self) -> None:
        """Close the terminal's window: the session's processes hear SIGHUP, and can write there no more."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1


@contextmanager
def on_a_terminal(*command: str, errors: Path) -> Iterator[Terminal]:
    terminal = Terminal(*command, errors=errors)
    try:
        yield terminal
    finally:
        terminal.close()
        terminal.process.kill()
        terminal.process.wait()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving("--machines", "16", "--latency", "50ms") as provider:
        yield provider


@pytest.mark.timeout(150 + 30 * ROUNDS)
@pytest.mark.parametrize("option", ["--quiet", "--verbose", "--color"][: None if ROUNDS > 4 else 2])
def test_a_terminal_that_is_closed_ends_the_run_and_all_comes_home(
    option: str, provider: Provider, tmp_path: Path
) -> None:
    draw = random.Random(option)
    for turn in range(max(1, ROUNDS // 4)):
        directory, errors = tmp_path / str(turn), tmp_path / f"errors{turn}"
        command = (RUN, "--target", provider.address, "--report-dir", str(directory), option)
        with on_a_terminal(*command, errors=errors) as terminal:
            if option != "--quiet":
                terminal.shows("ledger")
            while len(provider.away()) <= draw.randrange(5):
                assert terminal.process.poll() is None
            terminal.close()
            assert terminal.process.wait(LIMIT) == 3
        assert provider.away() == {}
        assert "Traceback" not in errors.read_text(encoding="utf-8")
        report = reader.read(directory / "report.json")
        assert (report.verdict, report.stopped) == (Verdict.INCONCLUSIVE, "interrupted (SIGHUP)")
        assert report.home.clean


@pytest.mark.parametrize("options", [("--color",), ("--verbose",)])
def test_a_reader_that_has_seen_enough_changes_no_verdict(
    options: tuple[str, ...], provider: Provider, tmp_path: Path
) -> None:
    command = (RUN, "--target", provider.address, "--select", "LIF-1*,FEN-1a", "--report-dir", str(tmp_path))
    with subprocess.Popen((*command, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as kit:
        assert kit.stdout
        assert kit.stderr
        assert kit.stdout.readline().startswith("target ")
        kit.stdout.close()  # as `head -1` does
        errors = kit.stderr.read()
        assert kit.wait(LIMIT) == 0, errors
    assert errors == ""
    assert provider.away() == {}
    assert reader.read(tmp_path / "report.json").verdict is Verdict.CONFORMANT


def test_an_output_that_is_full_is_said_and_brings_no_machine_into_danger(provider: Provider, tmp_path: Path) -> None:
    command = (RUN, "--target", provider.address, "--select", "LIF-1a", "--report-dir", str(tmp_path))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 2, done.stderr
    assert [line[:7] for line in done.stderr.splitlines()] == ["error: "] * len(done.stderr.splitlines())
    assert "No space left on device" in done.stderr
    assert provider.away() == {}
    assert reader.read(tmp_path / "report.json").verdict is Verdict.CONFORMANT


@pytest.mark.parametrize("command", [("list",), ("show", "FEN-1a"), ("config",), ("completion", "bash"), ("--help",)])
def test_every_command_says_in_one_line_that_its_output_is_full(command: tuple[str, ...]) -> None:
    program = (str(Path(RUN).with_name("conformance")), *command)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_where_nobody_hears_errors_the_code_still_tells() -> None:
    with Path("/dev/full").open("wb") as full:
        program = (RUN, "--target", "no address")
        done = subprocess.run(program, stdout=full, stderr=full, timeout=LIMIT, check=False)
    assert done.returncode == 2
    assert run("conformance-run", "--target", "no address").code == 2
