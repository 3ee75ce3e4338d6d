"""HST: mutants are found, conformant backends are not blamed, and a useless command decides nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from conformance.core import catalogue
from conformance.core.timeouts import Patience
from conformance.engine import run as engine_run
from conformance.engine.options import Timeouts
from conformance.results.causes import causes
from conformance.results.result import Status, Verdict
from conformance.rpc.target import Target
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.server import serving
from selftest.host_mutants import HOST_MUTANTS, OTHERS, Broken, ConformantBackends, HostedCore, OtherNames
from selftest.judge import options_of, plan_of

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.results.report import Report

PATIENCE = Patience(3.0, 3.0, 3.0, 3.0)
ODD = [each for name, each in vars(ConformantBackends).items() if not name.startswith("_")]


def judge(core: HostedCore, directory: Path, *select: str, asked: bool = True, **options: Any) -> Report:
    """Returns the report of a run that may ask the core for its hosts, if it is `asked`."""
    return asyncio.run(_judge(core, directory, select or ("HST",), asked=asked, **options))


async def _judge(core: HostedCore, directory: Path, select: tuple[str, ...], *, asked: bool, **options: Any) -> Report:
    timeouts = Timeouts(patience=PATIENCE, rpc=5.0, connect=5.0)
    async with serving(core) as address:
        return await engine_run.run(
            plan_of(select),
            Target(address=address),
            options=replace(options_of(1), timeouts=timeouts, **options),
            ledger_at=lambda run: directory / f"{run}.ndjson",
            backend=core if asked else None,
        )


def statuses(report: Report) -> dict[str, Status]:
    """Returns the status of each behaviour of §14."""
    return {result.id: result.status for result in report.results if result.entry.area == "HST"}


def odd(kind: type[HostedCore], *, idle: int = 2) -> HostedCore:
    """Returns a provider with a backend; `idle` machines have a host from the beginning."""
    return kind(fleet(12, idle=idle), latency=Latency.parse("40ms"))


@pytest.mark.parametrize("name", sorted(HOST_MUTANTS))
def test_every_mutant_is_found(name: str, tmp_path: Path) -> None:
    mutant = HOST_MUTANTS[name]
    report = judge(cast("HostedCore", mutant.provider()), tmp_path, "HST", *mutant.also)
    found = statuses(report)
    assert all(found[each] is Status.FAILED for each in mutant.found_by), report.results
    assert {cause.root.entry.area for cause in causes(report.results)} == {"HST"}
    assert report.verdict is Verdict.NON_CONFORMANT


def test_every_behaviour_is_proven_by_a_mutant() -> None:
    proven = {name for mutant in HOST_MUTANTS.values() for name in mutant.found_by}
    assert {entry.id for entry in catalogue.load().entries if entry.area == "HST"} == proven


@pytest.mark.parametrize("kind", [HostedCore, *ODD])
def test_a_conformant_backend_is_not_blamed(kind: type[HostedCore], tmp_path: Path) -> None:
    report = judge(odd(kind), tmp_path)
    assert set(statuses(report).values()) == {Status.PASSED}, report.results


def test_hosts_are_named_with_their_prices(tmp_path: Path) -> None:
    report = judge(
        cast("HostedCore", HOST_MUTANTS["DeleteKeepsTheHostRunning"].provider()), tmp_path, "HST-1b", "HST-2a"
    )
    [result] = [result for result in report.results if result.id == "HST-2a"]
    assert "1 host: " in result.got
    assert "(of machine-" in result.got
    assert "per hour)" in result.got


def test_a_command_that_prints_other_names_decides_nothing(tmp_path: Path) -> None:
    report = judge(odd(OtherNames), tmp_path)
    assert Status.FAILED not in statuses(report).values()
    assert report.verdict is Verdict.INCONCLUSIVE
    [result] = [result for result in report.results if result.id == "HST-1b"]
    assert "it must print the `ref` of each host" in result.reason


def test_a_command_that_fails_decides_nothing(tmp_path: Path) -> None:
    report = judge(odd(Broken, idle=0), tmp_path, "HST-1b")
    assert Status.FAILED not in statuses(report).values()


def test_kept_machines_are_not_left_hosts(tmp_path: Path) -> None:
    report = judge(odd(HostedCore), tmp_path, keep=True)
    assert statuses(report)["HST-2a"] is Status.SKIPPED


def test_without_a_backend_nothing_is_observed(tmp_path: Path) -> None:
    report = judge(odd(HostedCore), tmp_path, "HST", "LIF-1a", asked=False)
    assert set(statuses(report).values()) == {Status.SKIPPED}
    assert report.verdict is Verdict.CONFORMANT
    assert {r.reason for r in report.results if r.entry.area == "HST"} == {
        "not observed: the backend cannot be asked for its hosts; give --hosts-cmd"
    }


def test_other_hosts_run_from_the_beginning() -> None:
    assert odd(HostedCore).running > {*OTHERS}
