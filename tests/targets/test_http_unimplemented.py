"""A proxy without a route to Delete answers HTTP 404, which gRPC reads as UNIMPLEMENTED: that is not evidence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from conformance.results.result import Status, Verdict
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.servicer import Servicer
from selftest.judge import judge

if TYPE_CHECKING:
    from conformance.results.report import Report

DETAILS = "Received http2 header with status: 404"


class NoRouteToDelete(Servicer):
    """Is reached through a proxy that answers each Delete of a machine of the fleet with HTTP 404."""

    unknown_ids_too = False

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.unknown_ids_too or request.machine_id in self.core.machines:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, DETAILS)
        return await super().Delete(request, context)


class NoRouteAtAll(NoRouteToDelete):
    """Is reached through a proxy that answers every Delete with HTTP 404."""

    unknown_ids_too = True


def report_on(servicer: type[Servicer], *select: str, **options: Any) -> Report:
    core = Core(fleet(16), latency=Latency.parse("10ms"), **options)
    return asyncio.run(judge(core, select=select, servicer=servicer, in_process=True))


@pytest.mark.parametrize("behaviour", ["LIF-8d", "COD-1a"])
def test_a_proxys_status_is_not_evidence(behaviour: str) -> None:
    report = report_on(NoRouteAtAll, behaviour)
    assert [(r.id, r.status) for r in report.results] == [(behaviour, Status.ERROR)]
    assert "HTTP" in report.results[0].reason or DETAILS in report.results[0].reason
    assert report.verdict is Verdict.INCONCLUSIVE


def test_a_machine_without_delete_is_not_found_by_a_proxys_status() -> None:
    report = report_on(NoRouteToDelete, "LIF-8d")
    assert [(r.id, r.status) for r in report.results] == [("LIF-8d", Status.ERROR)]


def test_a_proxy_without_a_route_does_not_make_a_provider_bare_metal() -> None:
    """Otherwise its machines would stay IDLE at the end of the run, where they cost money, and count as returned."""
    report = report_on(NoRouteAtAll, "LIF-1a")
    assert report.found is not None
    assert report.found.delete
    assert report.home.left
    assert DETAILS in dict(report.home.left).popitem()[1]


def test_a_provider_that_says_so_itself_is_bare_metal() -> None:
    report = report_on(Servicer, "LIF-8b", "LIF-8c", deletes=False)
    assert {r.status for r in report.results} == {Status.PASSED}
