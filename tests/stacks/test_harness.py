"""The harness itself: what it does when a toolchain is missing, a build fails, or a provider does not start."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.stacks import stacks, test_stacks
from tests.stacks.stacks import DEFECTS, STACKS, BuildError, Built, Stack, built, serving

if TYPE_CHECKING:
    from pathlib import Path

NODE = next(stack for stack in STACKS if stack.name == "grpc-js")
SERVES = "print('serving 127.0.0.1:1', flush=True); import time; time.sleep(60)"


def program(code: str, tmp_path: Path) -> Built:
    stack = replace(NODE, command=("{python}", "-c", code), environment=())
    return Built(stack=stack, home=tmp_path, source=tmp_path)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_a_mode_a_stack_is_skipped_with_the_command_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_stacks, "MODE", "")
    with pytest.raises(pytest.skip.Exception, match="make stacks"):
        test_stacks.ready(NODE)


def test_without_a_mode_a_missing_toolchain_is_the_reason_of_the_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_stacks, "MODE", "")
    with pytest.raises(pytest.skip.Exception, match="grpc-js needs no-such-program on PATH"):
        test_stacks.ready(replace(NODE, needs=("no-such-program",)))


def test_ci_judges_each_quick_stack_once_and_each_defect_at_least_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_stacks, "MODE", "required")
    stacks = test_stacks.chosen()
    assert stacks == [stack for stack in STACKS if stack.quick]
    defects = Counter(defect for stack in stacks for defect in test_stacks.some(stack, tuple(DEFECTS)))
    assert set(defects) == set(DEFECTS)
    assert min(defects.values()) >= 2
    assert defects.total() == len(stacks)
    assert {latency for stack in stacks for latency in test_stacks.some(stack, test_stacks.LATENCIES)} == {0.0, 0.2}
    monkeypatch.setattr(test_stacks, "MODE", "all")
    assert test_stacks.chosen() == list(STACKS)
    assert test_stacks.some(STACKS[0], test_stacks.LATENCIES) == test_stacks.LATENCIES


@pytest.mark.parametrize("mode", ["required", "all"])
def test_a_missing_toolchain_fails_where_stacks_are_required(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_stacks, "MODE", mode)
    with pytest.raises(pytest.fail.Exception, match="grpc-js needs no-such-program"):
        test_stacks.ready(replace(NODE, needs=("no-such-program",)))


def broken_stack() -> Stack:
    return replace(NODE, install=(("sh", "-c", "echo no such registry; exit 3"),))


def test_a_failed_build_says_which_step_and_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONFORMANCE_STACKS_CACHE", str(tmp_path))
    with pytest.raises(BuildError, match="ended with 3: no such registry"):
        built(broken_stack())


def test_an_interrupted_build_starts_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONFORMANCE_STACKS_CACHE", str(tmp_path))
    once = ("sh", "-c", "test ! -e begun && touch begun && test -e ../go")
    stack = replace(NODE, install=(once,))
    with pytest.raises(BuildError):
        built(stack)
    (tmp_path / "stacks/go").touch()
    assert (built(stack).source / "server.mjs").exists()
    assert built(stack).home == built(stack).home


def test_a_provider_that_does_not_start_shows_its_output(tmp_path: Path) -> None:
    code = "import sys; sys.exit('the port is in use')"
    with (
        pytest.raises(BuildError, match="the port is in use"),
        serving(program(code, tmp_path), log=tmp_path / "log"),
    ):
        pass


def test_a_silent_provider_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stacks, "START_LIMIT", 0.5)
    silent = program("import time; time.sleep(60)", tmp_path)
    with pytest.raises(BuildError, match="does not say that it serves"), serving(silent, log=tmp_path / "log"):
        pass


def test_children_end_with_the_provider(tmp_path: Path) -> None:
    child = tmp_path / "child"
    fork = "import subprocess, pathlib; child = subprocess.Popen(['sleep', '60']); "
    fork += f"pathlib.Path({str(child)!r}).write_text(str(child.pid)); "
    with serving(program(fork + SERVES, tmp_path), log=tmp_path / "log"):
        pid = int(child.read_text())
        assert alive(pid)
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_a_provider_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stacks, "STOP_LIMIT", 0.5)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    began = time.monotonic()
    with serving(program(deaf + SERVES, tmp_path), log=tmp_path / "log"):
        pass
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_packages_are_pinned(stack: Stack) -> None:
    assert set(stack.versions()) == set(stack.packages)
