"""Behaviours whose connection was lost are judged again over connections of their own, and few of them at once."""

from __future__ import annotations

import asyncio
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, ClassVar

import grpc
import pytest

from conformance.core.lifecycle import State
from conformance.core.timeouts import Patience
from conformance.engine.judge import INTERRUPTED_AT_ONCE
from conformance.results.result import Status
from fake_provider.servicer import Servicer
from tests.runs import judged, proof, provider

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.testkit.trial import Trial

BEHAVIOURS = 8


class CutsOff(Servicer):
    """Ends each Get of the machines in `cut` as gRPC does if the connection is lost, and notes the peer of each Get."""

    cut: ClassVar[set[str]] = set()
    peers: ClassVar[dict[str, str]] = {}

    async def Get(self, request: pb.MachineRef, context: Any) -> pb.Machine:  # noqa: N802
        self.peers[request.id] = context.peer()
        if request.id in self.cut:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Stream removed (test)")
        return await super().Get(request, context)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("interruptions", range(1, len(INTERRUPTED_AT_ONCE) + 1))
def test_interrupted_behaviours_are_judged_again_a_few_at_once_and_on_connections_of_their_own(
    interruptions: int,
) -> None:
    shared, private, running = set[str](), list[str](), list[int]()
    active = 0

    async def body(trial: Trial) -> None:
        nonlocal active
        machine = trial.machine
        if trial.attempt <= interruptions:
            CutsOff.cut.add(machine.id)
            try:
                await machine.read()
            finally:
                CutsOff.cut.discard(machine.id)
                if trial.attempt == 1:
                    shared.add(CutsOff.peers[machine.id])
        active += 1
        running.append(active)
        try:
            await machine.read()
            private.append(CutsOff.peers[machine.id])
            await asyncio.sleep(0.2)
        finally:
            active -= 1

    plan = [proof(body, f"TST-1{letter}", machines=1, start=State.SPECULATIVE) for letter in ascii_lowercase]
    options: dict[str, Any] = {"serve": {"servicer": CutsOff}, "patience": Patience(60.0, 60.0, 60.0, 60.0)}
    report = asyncio.run(judged(plan[:BEHAVIOURS], provider(BEHAVIOURS), **options))
    assert {result.status for result in report.results} == {Status.PASSED}
    assert max(running) <= INTERRUPTED_AT_ONCE[interruptions - 1]
    assert len(set(private) - shared) == BEHAVIOURS
