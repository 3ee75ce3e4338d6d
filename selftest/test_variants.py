"""No behaviour fails, warns or ends in an error on an unusual but conformant provider.

Uses virtual time. The reference and the variants that differ in timing or in the transport also run over TCP; all
variants do with CONFORMANCE_OVER_TCP=1 or in `make flake`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from conformance.engine.judge import Judge
from conformance.fleet.pool import Pool
from conformance.results.result import Status, Verdict
from fake_provider.servicer import Servicer
from selftest.judge import judge_variant, judge_variant_in_virtual_time
from selftest.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from conformance.core.lifecycle import State
    from conformance.engine.judge import Attempt
    from conformance.fleet.machine import Machine
    from conformance.fleet.pool import Lease
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Behaviour

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
    if variant.leaves_failed:
        assert [why for _, why in (*report.home.left, *report.home.taken) if " is FAILED" not in why] == []
    else:
        assert report.home.clean
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


def test_one_slow_ack_is_not_a_warning() -> None:
    report = judge_variant_in_virtual_time(VARIANTS["OneSlowAck"], select=["LIF-10a"])
    assert [r.status for r in report.results] == [Status.PASSED]


def test_acks_that_always_wait_for_a_short_transition_are_a_warning() -> None:
    report = judge_variant_in_virtual_time(VARIANTS["AckWaits"], select=["LIF-10", "LIF-1a", "MET-1"])
    statuses = {r.id: r.status for r in report.results if r.entry.clause.id == "LIF-10"}
    assert statuses["LIF-10a"] is Status.WARNED
    assert set(statuses.values()) <= {Status.WARNED, Status.SKIPPED}
    assert "transitions take no time" not in str([r.reason for r in report.results])


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

    async def watched_perform(self: Judge, behaviour: Behaviour, lease: Lease, number: int) -> Attempt:
        with using(lease.machines, behaviour.id):
            return await perform(self, behaviour, lease, number)

    async def watched_restore(self: Pool, machine: Machine, wanted: Collection[State]) -> None:
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
