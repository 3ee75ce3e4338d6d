"""Servers that limit concurrent calls or the age of connections conform: gRPC defines how clients handle that."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from conformance.core import catalogue
from conformance.engine import run as engine_run
from conformance.frontends import collection
from conformance.results.result import Status, Verdict
from conformance.rpc.client import MANY_CONNECTIONS, REFUSED_STREAM
from conformance.rpc.target import Target
from conformance.testkit import expect
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from tests import provider_process
from tests.runs import SHORT, judged, options_from, proof, provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from conformance.results.report import Report
    from conformance.testkit.behaviour import Behaviour
    from conformance.testkit.trial import Trial
    from fake_provider.machine import Machine

FEW_STREAMS = {"options": (("grpc.max_concurrent_streams", 4),)}
SHORT_LIVED = {"options": (("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 2000))}
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
    assert all(REFUSED_STREAM in call.outcome() and not call.answered for call in refused)
    assert not report.notes, "a refused stream does not count as load shedding"


@asynccontextmanager
async def load_balancer(address: str, *, connections: int, refuses: bool) -> AsyncIterator[str]:
    """Forwards at most `connections` connections at once; closes any other one if it `refuses`, or never answers it."""
    host, _, port = address.rpartition(":")
    open_connections, tasks = 0, set[asyncio.Task[None]]()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    writer.write(data)
        finally:
            writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        number = open_connections
        open_connections += 1
        try:
            if number < connections:
                from_provider, to_provider = await asyncio.open_connection(host, int(port))
                await asyncio.gather(forward(reader, to_provider), forward(from_provider, writer))
            elif not refuses:
                await reader.read()
        finally:
            open_connections -= 1
            writer.close()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(handle(reader, writer)))

    server = await asyncio.start_server(start, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close


@pytest.mark.timeout(60)
@pytest.mark.parametrize("refuses", [True, False], ids=["closes-others", "ignores-others"])
def test_a_load_balancer_that_limits_connections_leaves_behaviours_not_judged(refuses: bool, tmp_path: Path) -> None:
    async def go() -> Report:
        async with (
            serving(provider(24, latency=0.02)) as address,
            load_balancer(address, connections=3, refuses=refuses) as balanced,
        ):
            return await engine_run.run(
                tuple(chosen("FEN-11c", "WIR-3e", "FEN-1a")),
                Target(address=balanced),
                options=options_from(rpc_timeout=2.0, connect_timeout=2.0, patience=SHORT, jobs=1),
                ledger_at=lambda run: tmp_path / f"{run}.ndjson",
            )

    report = asyncio.run(go())
    statuses = {result.id: result.status for result in report.results}
    assert statuses == {"FEN-11c": Status.ERROR, "WIR-3e": Status.ERROR, "FEN-1a": Status.PASSED}
    for result in report.with_status(Status.ERROR):
        assert result.reason == f"another connection to the target was not established within 2 s: {MANY_CONNECTIONS}"
    assert report.home.clean


@pytest.mark.timeout(120)
@pytest.mark.parametrize("files", [14, 16, 18, 20, 22, 24])
def test_too_few_open_files_are_named_in_one_line(files: int, tmp_path: Path) -> None:
    options = "--select WIR-3e --rpc-timeout 2s --connect-timeout 2s"
    with provider_process.serving() as provider_:
        kit = f"{Path(sys.executable).with_name('conformance-run')} --target {provider_.address} {options}"
        ran = subprocess.run(
            ["sh", "-c", f"ulimit -n {files} && exec {kit}"],
            capture_output=True,
            text=True,
            timeout=100,
            env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
            check=False,
        )
    output = ran.stdout + ran.stderr
    named = f"the kit cannot open more files at once (ulimit -n is {files}); raise the limit" in output
    assert (ran.returncode, named) in ((3, True), (0, False)), output
    assert "Traceback" not in output
