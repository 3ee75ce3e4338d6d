"""The output of a command may fail: the terminal is closed, the reader closes the pipe, or the device is full."""

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


TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Becomes a command with a controlling terminal. The test does not fork: gRPC's threads do not survive that."""


class Terminal:
    """A command in its own session, on a terminal that the test can close."""

    def __init__(self, *command: str, errors: Path) -> None:
        self._master, slave = os.openpty()
        # stderr goes to a file, which can still be read after the terminal is closed.
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                (sys.executable, "-c", TAKE_TERMINAL, *command),
                stdin=slave,
                stdout=slave,
                stderr=file,
                start_new_session=True,
            )
        os.close(slave)

    def wait_for(self, text: str) -> None:
        """Reads the output until `text` appears."""
        seen = b""
        while text.encode() not in seen:
            seen += os.read(self._master, 1024)

    def close(self) -> None:
        """Closes the terminal: the processes of its session get SIGHUP and cannot write to it any more."""
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
def test_a_closed_terminal_ends_the_run_and_all_machines_are_returned(
    option: str, provider: Provider, tmp_path: Path
) -> None:
    rng = random.Random(option)
    for turn in range(max(1, ROUNDS // 4)):
        directory, errors = tmp_path / str(turn), tmp_path / f"errors{turn}"
        command = (RUN, "--target", provider.address, "--report-dir", str(directory), option)
        with on_a_terminal(*command, errors=errors) as terminal:
            if option != "--quiet":
                terminal.wait_for("ledger")
            while len(provider.away()) <= rng.randrange(5):
                assert terminal.process.poll() is None
            terminal.close()
            assert terminal.process.wait(LIMIT) == 3
        assert provider.away() == {}
        assert "Traceback" not in errors.read_text(encoding="utf-8")
        report = reader.read(directory / "report.json")
        assert (report.verdict, report.stopped) == (Verdict.INCONCLUSIVE, "interrupted (SIGHUP)")
        assert report.home.clean


@pytest.mark.parametrize("options", [("--color",), ("--verbose",)])
def test_a_closed_pipe_does_not_change_the_verdict(
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


def test_a_full_output_is_an_error_and_all_machines_are_returned(provider: Provider, tmp_path: Path) -> None:
    command = (RUN, "--target", provider.address, "--select", "LIF-1a", "--report-dir", str(tmp_path))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 2, done.stderr
    assert [line[:7] for line in done.stderr.splitlines()] == ["error: "] * len(done.stderr.splitlines())
    assert "No space left on device" in done.stderr
    assert provider.away() == {}
    assert reader.read(tmp_path / "report.json").verdict is Verdict.CONFORMANT


@pytest.mark.parametrize("command", [("list",), ("show", "FEN-1a"), ("config",), ("completion", "bash"), ("--help",)])
def test_a_full_output_is_a_one_line_error_of_every_command(command: tuple[str, ...]) -> None:
    program = (str(Path(RUN).with_name("conformance")), *command)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_the_exit_code_is_right_even_if_stderr_is_full() -> None:
    with Path("/dev/full").open("wb") as full:
        program = (RUN, "--target", "no address")
        done = subprocess.run(program, stdout=full, stderr=full, timeout=LIMIT, check=False)
    assert done.returncode == 2
    assert run("conformance-run", "--target", "no address").code == 2
