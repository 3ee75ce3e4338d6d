"""A transition that no call of the kit was in time for: the provider was too fast, or the kit was too slow."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from conformance.results.result import Status, Verdict
from conformance.rpc.client import Client
from fake_provider.servicer import Servicer
from selftest.judge import judge_variant_in_virtual_time
from selftest.variants import Variant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.results.report import Report

WATCHERS = (
    *("COD-2d", "COD-2e", "COD-2f", "COD-2g", "COD-2h", "COD-2i", "COD-2j", "COD-2k"),
    *("FEN-1d", "FEN-5f", "LIF-2a", "LIF-2b", "LIF-2c", "LIF-2d", "LST-6e", "MET-1c", "MET-1d"),
)
"""The behaviours that need a call to arrive during a transition."""


@contextmanager
def slowed_kit(monkeypatch: pytest.MonkeyPatch, seconds: float, *, until_alone: bool) -> Iterator[None]:
    """Delays each read of the kit before it is sent; with `until_alone`, only while several behaviours run."""
    read = Client._read

    async def slow_read(self: Client, rpc: str, request: Any) -> Any:
        tasks = sum(task.get_coro().__qualname__ == "Run._perform" for task in asyncio.all_tasks())  # type: ignore[union-attr]
        if not until_alone or tasks > 1:
            await asyncio.sleep(seconds)
        return await read(self, rpc, request)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "_read", slow_read)
        yield


def judged(latency: str, **options: Any) -> Report:
    variant = Variant(name="Timed", story="", latency=latency, **options)
    return judge_variant_in_virtual_time(variant, select=WATCHERS)


def statuses(report: Report, *expected: Status) -> dict[str, str]:
    """Returns the reasons of the results with another status."""
    return {r.id: f"{r.status}: {r.reason}" for r in report.results if r.status not in expected}


def test_a_kit_in_time_judges_all() -> None:
    assert statuses(judged("100ms"), Status.PASSED) == {}


def test_a_kit_that_is_too_slow_in_a_crowd_judges_again_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with slowed_kit(monkeypatch, 0.15, until_alone=True):
        report = judged("100ms")
    assert statuses(report, Status.PASSED) == {}
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.clean


def test_a_kit_that_stays_too_slow_does_not_judge_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with slowed_kit(monkeypatch, 0.15, until_alone=False):
        report = judged("100ms")
    assert statuses(report, Status.ERROR) == {}
    assert {r.id for r in report.results if "the kit was too slow" not in r.reason} == set()
    assert report.exit_code == 3
    assert report.home.clean


def test_a_slow_kit_does_not_hide_what_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with slowed_kit(monkeypatch, 0.15, until_alone=False):
        report = judged("0")
    assert statuses(report, Status.PASSED, Status.SKIPPED) == {}
    assert {r.reason for r in report.results if "the kit" in r.reason} == set()
    assert report.verdict is Verdict.CONFORMANT


@pytest.mark.parametrize("rpc_delay", [0.0, 0.05])
@pytest.mark.parametrize("latency", ["1ms", "3ms", "8ms", "15ms", "30ms", "60ms", "0..150ms"])
def test_a_fast_provider_is_skipped_whatever_a_call_takes(latency: str, rpc_delay: float) -> None:
    report = judged(latency, serving={"rpc_delay": rpc_delay})
    assert statuses(report, Status.PASSED, Status.SKIPPED) == {}
    assert report.verdict is Verdict.CONFORMANT


class GetWaits(Servicer):
    """Answers a Get only when the machine is at rest."""

    async def Get(self, request: pb.MachineRef, context: Any) -> pb.Machine:  # noqa: N802
        while (machine := self.core.machines.get(request.id)) is not None and machine.moving:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return await super().Get(request, context)


def test_a_provider_that_answers_late_is_not_a_slow_kit() -> None:
    report = judged("100ms", servicer=GetWaits)
    assert {r.id: r.reason for r in report.results if "the kit was too slow" in r.reason} == {}
