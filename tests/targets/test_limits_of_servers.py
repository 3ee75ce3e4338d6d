"""Servers that limit concurrent calls or the age of connections conform: gRPC defines how clients handle that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from conformance.core import catalogue
from conformance.frontends import collection
from conformance.results.result import Status, Verdict
from conformance.rpc.client import REFUSED_STREAM
from conformance.testkit import expect
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.servicer import Servicer
from tests.runs import judged, proof, provider

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.results.report import Report
    from conformance.testkit.behaviour import Behaviour
    from conformance.testkit.trial import Trial
    from fake_provider.machine import Machine

FEW_STREAMS = {"options": (("grpc.max_concurrent_streams", 4),)}
SHORT_LIVED = {"options": (("grpc.max_connection_age_ms", 150), ("grpc.max_connection_age_grace_ms", 2000))}
FEW_CALLS = {"maximum_concurrent_rpcs": 12}
LIMITS: dict[str, dict[str, Any]] = {
    "few streams": FEW_STREAMS,
    "short-lived connections": SHORT_LIVED,
    "few calls": FEW_CALLS,
}


class RepeatsIds(Core):
    """Repeats an unknown id three times in its error text: about 12 kB for an id of 4,096 characters."""

    def find(self, machine_id: str) -> Machine:
        if machine_id not in self.machines:
            unknown = "\n".join([f"no machine {machine_id}"] * 3)
            raise Rejected(Code.NOT_FOUND, unknown)
        return super().find(machine_id)


class LongErrors(Servicer):
    """Sends error texts of any length."""

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Rejected as rejected:
            return await context.abort(self.status(rejected.code), rejected.message)


def chosen(*select: str) -> list[Behaviour]:
    known = catalogue.load()
    return list(collection.plan(known, collection.functions(), [entry.id for entry in known.select(select, ())]))


def run(behaviours: list[Behaviour], limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Report:
    unlimited = grpc.aio.server

    def limited(*, options: tuple[tuple[str, int], ...]) -> grpc.aio.Server:
        return unlimited(**(limits | {"options": (*options, *limits.get("options", ()))}))

    monkeypatch.setattr(grpc.aio, "server", limited)
    core = provider(24, latency=0.02)
    return asyncio.run(judged(behaviours, core, serve={"rpc_delay": 0.005}, rpc_timeout=20.0, seed=1))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_a_server_with_limits_is_conformant(limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    report = run(chosen("FEN", "OPS", "LIF-1*", "WIR-3*", "WIR-4*"), limits, monkeypatch)
    wrong = [f"{r.id} {r.reason}" for r in report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)]
    assert (report.verdict, wrong) == (Verdict.CONFORMANT, [])
    assert report.home.clean


@pytest.mark.timeout(120)
def test_a_provider_with_long_error_texts_is_conformant() -> None:
    core = provider(24, latency=0.02, cls=RepeatsIds)
    behaviours = chosen("COD-1*", "COD-3*", "COD-4*", "COD-5*")
    report = asyncio.run(judged(behaviours, core, serve={"servicer": LongErrors}, rpc_timeout=20.0, seed=1))
    wrong = [f"{r.id} {r.reason}" for r in report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)]
    assert (report.verdict, wrong, list(report.notes)) == (Verdict.CONFORMANT, [], [])


async def sends_32_calls_at_once(trial: Trial) -> None:
    token = trial.new_shard().token(epoch=1, sequence=1)
    answers = await asyncio.gather(*(trial.machine.drain(token) for _ in range(32)))
    expect.fact(sum(not call.fenced for call in answers) == 1, wanted="one accepted call", got="another number")


def test_a_call_that_the_server_refused_unseen_is_sent_again_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    report = run([proof(sends_32_calls_at_once, machines=1)], FEW_STREAMS, monkeypatch)
    [result] = report.results
    assert result.status is Status.PASSED, result.reason
    refused = [call for call in result.calls if call.code is grpc.StatusCode.UNAVAILABLE]
    assert refused, "the server accepted all calls at once"
    assert all(call.outcome().removeprefix("UNAVAILABLE: ").startswith(REFUSED_STREAM) for call in refused)
    assert not report.notes, "a refused stream does not count as load shedding"
