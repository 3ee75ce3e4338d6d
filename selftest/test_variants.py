"""No behaviour fails, warns or ends in an error on an unusual but conformant provider.

Uses virtual time. The reference and the variants that differ in timing or in the transport also run over TCP; all
variants do with CONFORMANCE_OVER_TCP=1 or in `make flake`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conformance.engine.dry_run import run_on_virtual_clock
from conformance.engine.judge import Judge
from conformance.fleet.pool import Pool
from conformance.results.result import Status, Verdict
from fake_provider.core import Core
from fake_provider.machine import State
from fake_provider.servicer import Servicer
from selftest.judge import judge_variant, judge_variant_in_virtual_time, plan_of
from selftest.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from conformance.core.lifecycle import State as AnyState
    from conformance.engine.retries import Attempt, History
    from conformance.fleet.machine import Machine
    from conformance.fleet.pool import Lease
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Behaviour
    from fake_provider.machine import Machine as Record

SEEDS = range(int(os.environ.get("CONFORMANCE_SEEDS", "1")))
"""CONFORMANCE_SEEDS=20 runs every variant with twenty seeds."""
REFERENCE = VARIANTS["Reference"]
ALL_OVER_TCP = bool(os.environ.get("CONFORMANCE_OVER_TCP"))
OVER_TCP = [
    v
    for v in VARIANTS.values()
    if ALL_OVER_TCP or v is REFERENCE or v.serving or v.servicer is not Servicer or v.latency != REFERENCE.latency
]


def check_clean(variant: Variant, report: Report) -> None:
    """Checks that there are only allowed warnings, and that all machines were returned."""
    assert [f"{r.id} {r.status}: {r.reason}" for r in variant.wrong(report)] == []
    assert [r.id for r in report.with_status(Status.SKIPPED) if r.id in variant.lacks] == list(variant.lacks)
    assert report.verdict is Verdict.CONFORMANT
    assert (report.home.left, report.exit_code) == ((), 0)
    if variant.leaves_failed:
        assert [why for _, why in report.home.taken if " is FAILED" not in why] == []
    else:
        assert report.home.failed == ()
    assert report.bill.create <= 40 or variant.options.get("deletes") is False


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda v: v.name)
def test_a_conformant_provider_has_no_findings(variant: Variant, seed: int) -> None:
    check_clean(variant, judge_variant_in_virtual_time(variant, seed=seed))


@pytest.mark.parametrize(
    ("name", "health", "reflection"),
    [
        ("NoHealth", Status.WARNED, Status.PASSED),
        ("NoReflection", Status.PASSED, Status.SKIPPED),
        ("ReflectionV1", Status.PASSED, Status.PASSED),
    ],
)
def test_health_is_expected_and_reflection_is_optional(name: str, health: Status, reflection: Status) -> None:
    report = asyncio.run(judge_variant(VARIANTS[name], select=["WIR-4"]))
    assert {r.id: r.status for r in report.results} == {"WIR-4a": health, "WIR-4b": reflection}


def test_a_service_of_another_name_without_a_route_is_a_warning() -> None:
    report = asyncio.run(judge_variant(VARIANTS["OtherServicesHaveNoRoute"], select=["WIR-6"]))
    assert {r.id: r.status for r in report.results} == {"WIR-6a": Status.PASSED, "WIR-6b": Status.WARNED}
    assert report.verdict is Verdict.CONFORMANT


def test_one_slow_ack_is_not_a_warning() -> None:
    report = judge_variant_in_virtual_time(VARIANTS["OneSlowAck"], select=["LIF-10a"])
    assert [r.status for r in report.results] == [Status.PASSED]


class OldRecordInList(Core):
    """Shows the record from before the Create in List, during the first Delete or during each."""

    each = False

    def shown_in_list(self, machine: Record) -> Record:
        if machine.state is not State.DELETING or machine.operation is None:
            return machine
        first = self.__dict__.setdefault("first", machine.operation.id)
        lags = self.each or first == machine.operation.id
        return replace(machine, state=State.SPECULATIVE, host=None) if lags else machine


class OldRecordInEachList(OldRecordInList):
    """Shows it during each Delete."""

    each = True


@pytest.mark.parametrize(("core", "status"), [(OldRecordInList, Status.PASSED), (OldRecordInEachList, Status.FAILED)])
def test_a_list_that_lags_once_during_delete_breaks_nothing(core: type[Core], status: Status) -> None:
    variant = replace(REFERENCE, core=core, latency="120ms")
    report = judge_variant_in_virtual_time(variant, select=["LIF-2d"])
    assert [r.status for r in report.results] == [status]


def test_a_late_ack_that_no_machine_is_left_to_show_again_is_not_judged() -> None:
    variant = replace(VARIANTS["AckWaits"], machines=1, options={"deletes": False})
    report = judge_variant_in_virtual_time(variant, select=["LIF-10b"])
    assert [(r.status, "on another machine" in r.reason) for r in report.results] == [(Status.SKIPPED, True)]


def test_a_mark_per_shard_is_a_warning_that_says_why() -> None:
    report = judge_variant_in_virtual_time(VARIANTS["MarkPerShard"], select=["FEN-13"])
    findings = {r.id: r.reason for r in report.results if r.status is not Status.PASSED}
    assert [r.id for r in report.with_status(Status.WARNED)] == list(findings) == ["FEN-13d"]
    assert "out of order" in findings["FEN-13d"]


@pytest.mark.parametrize(
    ("name", "required", "failed"),
    [
        ("MarkPerShard", "shard", []),
        ("MarkPerShard", "shard-machine", ["FEN-13a", "FEN-13b", "FEN-13c", "FEN-13e"]),
        ("Reference", "shard", ["FEN-13a", "FEN-13b", "FEN-13c", "FEN-13e"]),
        ("Reference", "shard-machine", []),
    ],
)
def test_a_required_scope_is_demanded_of_every_machine(name: str, required: str, failed: list[str]) -> None:
    variant = VARIANTS[name]
    options = replace(variant.run_options(0), fence_scope=required)
    report = run_on_virtual_clock(plan_of(["FEN-13"]), variant.provider(), options=options)
    assert sorted(r.id for r in report.with_status(Status.FAILED)) == failed


@pytest.mark.parametrize("name", ["NoEdgeIsUnavailable", "NoEdgeIsExhausted"])
def test_try_again_for_a_call_without_an_edge_is_a_warning(name: str) -> None:
    report = judge_variant_in_virtual_time(VARIANTS[name], select=["COD-2"])
    assert sorted(r.id for r in report.with_status(Status.WARNED)) == ["COD-2l", "COD-2m"]


def test_acks_that_wait_a_fifth_of_a_second_are_a_warning() -> None:
    report = judge_variant_in_virtual_time(VARIANTS["AckWaits"], select=["LIF-10"])
    assert {r.id: r.status for r in report.results} == dict.fromkeys(("LIF-10a", "LIF-10b", "LIF-10c"), Status.WARNED)


def test_transitions_that_take_no_time_are_not_late() -> None:
    report = judge_variant_in_virtual_time(VARIANTS["Instant"], select=["LIF-10"])
    assert {r.status for r in report.results} == {Status.SKIPPED}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [*SEEDS, len(SEEDS), len(SEEDS) + 1])
def test_no_two_behaviours_use_a_machine_at_once_if_creates_fail(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    in_use: set[str] = set()
    shared: list[str] = []

    @contextmanager
    def using(machines: Sequence[Machine], what: str) -> Iterator[None]:
        ids = {machine.id for machine in machines}
        shared.extend(f"{what}: {machine_id}" for machine_id in ids & in_use)
        in_use.update(ids)
        yield
        in_use.difference_update(ids)

    perform, restore = Judge._perform, Pool._restore

    async def watched_perform(self: Judge, behaviour: Behaviour, lease: Lease, history: History) -> Attempt:
        with using(lease.machines, behaviour.id):
            return await perform(self, behaviour, lease, history)

    async def watched_restore(self: Pool, machine: Machine, wanted: Collection[AnyState]) -> None:
        with using([machine], "released"):
            await restore(self, machine, wanted)

    monkeypatch.setattr(Judge, "_perform", watched_perform)
    monkeypatch.setattr(Pool, "_restore", watched_restore)
    variant = VARIANTS["EveryNinthCreateFails"]
    report = judge_variant_in_virtual_time(variant, seed=seed)
    assert shared == []
    check_clean(variant, report)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", OVER_TCP, ids=lambda v: v.name)
def test_a_conformant_provider_has_no_findings_over_tcp(variant: Variant, seed: int) -> None:
    check_clean(variant, asyncio.run(judge_variant(variant, seed=seed)))
