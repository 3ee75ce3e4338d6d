"""Real providers on other stacks: each is conformant as it is, and each of its defects is found as the first cause."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.stacks.observe import QUESTIONS
from tests.stacks.stacks import BUILD_LIMIT, DEFECTS, HERE, STACKS, Built, Stack, built, serving

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

MODE = os.environ.get("CONFORMANCE_STACKS", "")
"""The stacks that are judged, since they take minutes: none if empty; `required`, as in CI: those that build quickly,
each at one latency and with one defect; `all` (`make stacks`): all stacks, at both latencies and with each defect."""
LATENCIES = (0.0, 0.2)
AREAS = ("--select", ",".join(clause[:3] for clause in DEFECTS.values())) if MODE == "required" else ()
"""CI looks for a defect among the behaviours of the three areas that the defects break, and `make stacks` among all."""
RUN_LIMIT = 300.0
"""Seconds for one run of the kit; about fifteen on an idle machine."""

pytestmark = pytest.mark.timeout(RUN_LIMIT + 120)


def chosen() -> list[Stack]:
    return [stack for stack in STACKS if stack.quick or MODE != "required"]


def some(stack: Stack, values: Sequence[T]) -> Sequence[T]:
    """Returns one of the values in CI, in turn from stack to stack, and all of them elsewhere."""
    turn = STACKS.index(stack) % len(values)
    return values[turn : turn + 1] if MODE == "required" else values


def ready(stack: Stack) -> Built:
    missing = f"{stack.name} needs {' and '.join(stack.missing())} on PATH" if stack.missing() else ""
    if not MODE:
        pytest.skip(missing or "the providers on other stacks take minutes: make stacks")
    if missing:
        pytest.fail(missing)
    return built(stack)


def judged(address: str, directory: Path, *options: str) -> dict[str, Any]:
    return reported(directory, "--target", address, *options)


def reported(directory: Path, *options: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    command = [sys.executable, "-m", "conformance", "run", "--no-config", "--no-waivers", "--quiet"]
    done = subprocess.run(
        [*command, "--report-dir", str(directory), *options],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT,
        check=False,
        cwd=directory.parent,
    )
    path = directory / "report.json"
    assert path.exists(), f"the kit wrote no report: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def first_cause(report: dict[str, Any]) -> str:
    """Returns the clause of the cause that the report names first: failures first, then by number of consequences."""
    broken = [each for each in report["behaviours"] if each["status"] in ("failed", "warned")]
    roots = [each for each in broken if each["cause"] is None]
    followers = {root["id"]: sum(each["cause"] == root["id"] for each in broken) for root in roots}
    roots.sort(key=lambda root: (root["status"] != "failed", -followers[root["id"]]))
    return roots[0]["clause"] if roots else ""


def problems(report: dict[str, Any]) -> str:
    """Returns the behaviours that are neither passed nor skipped, one per line."""
    bad = [each for each in report["behaviours"] if each["status"] in ("failed", "error", "warned")]
    return "\n".join(
        f"{each['status']} {each['id']}: {each['reason']} (wanted {each['wanted']}, got {each['got']})" for each in bad
    )


def parameters(stack: Stack, *values: object) -> Any:
    """The stack is a group for xdist: one worker builds it, and the others do not wait for that."""
    marks = [pytest.mark.xdist_group(stack.directory)]
    return pytest.param(stack, *values, marks=marks, id="-".join((stack.name, *map(str, values))))


@pytest.mark.timeout(BUILD_LIMIT + 60)
@pytest.mark.parametrize("stack", [parameters(stack) for stack in chosen()])
def test_it_builds_and_serves(stack: Stack, tmp_path: Path) -> None:
    with serving(ready(stack), log=tmp_path / "provider.log") as address:
        assert address.startswith("127.0.0.1:")
    assert set(stack.versions()) == set(stack.packages)


@pytest.mark.parametrize(
    ("stack", "latency"), [parameters(stack, latency) for stack in chosen() for latency in some(stack, LATENCIES)]
)
def test_it_is_conformant(stack: Stack, latency: float, tmp_path: Path) -> None:
    with serving(ready(stack), latency=latency, log=tmp_path / "provider.log") as address:
        report = judged(address, tmp_path / "report")
    assert report["verdict"] == "conformant", problems(report)


@pytest.mark.parametrize(
    ("stack", "defect"), [parameters(stack, defect) for stack in chosen() for defect in some(stack, tuple(DEFECTS))]
)
def test_a_defect_is_the_first_cause(stack: Stack, defect: str, tmp_path: Path) -> None:
    with serving(ready(stack), defect=defect, log=tmp_path / "provider.log") as address:
        report = judged(address, tmp_path / "report", *AREAS)
    assert report["verdict"] == "non-conformant", problems(report)
    assert first_cause(report) == DEFECTS[defect], problems(report)


def test_the_observations_are_of_the_pinned_versions() -> None:
    """Needs `python -m tests.stacks.observe NAME` after a change of versions."""
    known = json.loads((HERE / "observations.json").read_text())
    assert {name: each["versions"] for name, each in known["stacks"].items()} == {
        stack.name: dict(stack.versions()) for stack in STACKS
    }
    assert {name: each["settings"] for name, each in known["stacks"].items()} == {
        stack.name: dict(stack.settings) for stack in STACKS
    }
    assert known["questions"] == QUESTIONS
    assert all(list(each["observed"]) == list(QUESTIONS) for each in known["stacks"].values())
