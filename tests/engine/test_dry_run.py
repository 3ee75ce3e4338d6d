"""Dry runs: their counts are those of real runs, and they take no time and touch no machine."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from conformance.core import catalogue
from conformance.core.lifecycle import Verb
from conformance.core.timeouts import Patience
from conformance.engine.dry_run import TargetSpeed, dry_run, fake_like
from conformance.frontends import collection
from conformance.results.result import Status, Verdict
from fake_provider.fence import Scope
from fake_provider.machine import CapacityType, State
from tests.provider_process import judge, run, serving
from tests.runs import options_from
from tests.values import a_found

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.results.target_info import TargetInfo
    from conformance.testkit.behaviour import Plan

MINUTE = 60.0


def a_fleet(slots: int = 32, *, idle: int = 0, **given: Any) -> TargetInfo:
    return a_found(
        speculative=tuple(f"m{n}" for n in range(slots)),
        idle=tuple(f"i{n}" for n in range(idle)),
        prices=(1.0, 3.0) * (slots // 2),
        **given,
    )


def chosen(*patterns: str) -> Plan:
    """The behaviours that match any of the patterns; without patterns, all of them."""
    known = catalogue.load()
    return collection.plan(known, collection.functions(), (entry.id for entry in known.select(patterns, ())))


def dry(found: TargetInfo, *patterns: str, took: float = MINUTE, **options: Any) -> Any:
    return dry_run(
        chosen(*patterns),
        found,
        speed=TargetSpeed(transitions=dict.fromkeys(Verb, took), call=0.001),
        options=options_from(seed=1, **options),
    )


def test_the_fake_has_the_shape_of_the_target() -> None:
    found = a_fleet(4, idle=2, delete=False, revisions=False, fence_scope="shard-machine", spot=False, zones=())
    core = fake_like(found, TargetSpeed(transitions={Verb.CREATE: 9.0}))
    machines = list(core.machines.values())
    assert [machine.state for machine in machines] == [State.IDLE] * 2 + [State.SPECULATIVE] * 4
    assert {machine.price_per_hour for machine in machines} == {2.0}
    assert {machine.capacity_type for machine in machines} == {CapacityType.ON_DEMAND}
    assert {machine.zone for machine in machines} == {""}
    assert (core.deletes, core.revisions, core.scope) == (False, False, Scope.SHARD_MACHINE)
    assert core.latency.create.low == 9.0


def test_an_hour_at_the_target_takes_no_time_and_all_is_judged() -> None:
    report = dry(a_fleet(), "LIF", "OPS", "WIR", took=10 * MINUTE, patience=Patience(*[3600.0] * 4))
    assert report.verdict is Verdict.CONFORMANT
    assert report.time.wall > 3600
    assert report.home.clean


def test_a_chain_takes_as_long_as_its_transitions() -> None:
    """LIF-1a takes four transitions."""
    report = dry(a_fleet(), "LIF-1a")
    assert (report.bill.create, report.bill.configure, report.bill.drain, report.bill.delete) == (1, 1, 1, 1)
    assert 4 * MINUTE <= report.time.wall < 5 * MINUTE


def test_machines_cost_the_average_price_while_they_are_alive() -> None:
    report = dry(a_fleet(), "LIF-1a")
    assert math.isclose(report.bill.price, report.bill.machine_seconds * 2.0 / 3600, rel_tol=0.01)


@pytest.mark.parametrize("limit", [0, 3])
def test_behaviours_beyond_the_budget_of_creates_are_not_judged(limit: int) -> None:
    report = dry(a_fleet(), "LIF", "OPS", max_creates=limit)
    assert report.bill.create <= limit
    assert report.verdict is Verdict.INCONCLUSIVE
    reasons = {result.reason for result in report.with_status(Status.ERROR)}
    assert any(f"--max-creates {limit} is reached" in reason for reason in reasons)


@pytest.mark.timeout(120)
def test_a_run_of_the_whole_suite_without_delete_ends() -> None:
    """Some behaviours leave unanswered calls to IDLE machines, which only the final cleanup can return."""
    report = dry(a_fleet(10, delete=False), took=0.1)
    assert report.time.wall < MINUTE
    assert report.rpcs < 20_000


@pytest.mark.timeout(120)
def test_its_counts_are_close_to_those_of_a_real_run(tmp_path: Path) -> None:
    """The same plan, seed and options: once on the virtual clock, once with a provider in another process."""
    with serving("--latency", "200ms", "--machines", "32") as provider:
        select = ("--select", "LIF,OPS-1,OPS-2,OPS-3", "--seed", "1")
        planned = run(
            "conformance", "plan", "--target", provider.address, "--latency", "200ms", "--format", "json", *select
        )
        assert planned.code == 0, planned.text
        assert provider.away() == {}
        done = judge(provider, *select, directory=tmp_path)
        assert done.code == 0, done.text
    estimate, real = json.loads(planned.out)["estimate"], json.loads((tmp_path / "report.json").read_text())
    # The assignment of machines depends on timing, so counts differ a little. Times are not compared.
    for count in ("create", "configure", "drain", "delete", "peak_machines"):
        assert math.isclose(estimate["bill"][count], real["bill"][count], rel_tol=0.5), count
