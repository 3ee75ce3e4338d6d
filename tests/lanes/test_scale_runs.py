"""The scale lane against real providers: its verdicts, its cost, and the clean-up of all machines."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import conformance.reporters
from conformance.core.errors import TargetError
from conformance.lanes import records
from conformance.lanes.scale import budget
from conformance.lanes.scale import run as scale_run
from conformance.lanes.scale.figures import ChurnProgress, ScaleFigures
from conformance.lanes.scale.soak import Soak
from conformance.reporters import sections, terminal
from conformance.results import events
from conformance.results.result import Verdict
from conformance.rpc.target import Target
from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import Machine, Operation, State, Verb
from fake_provider.server import serving
from tests import provider_process as process
from tests.runs import SHORT, options_from, provider, states_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conformance.results.report import Report

SCHEMA = Path(conformance.reporters.__file__).parent / "report.schema.json"
pytestmark = pytest.mark.timeout(240)
PROCESS_SECONDS = 120.0
"""The maximum duration of a process, also on a busy machine."""
SHORT_CHURN = ("--lane", "scale", "--soak", "60ops", "--max-machines", "4")


async def churned(
    address: str, directory: Path, *, budgets: tuple[str, ...] = (), operations: int = 60, **options: Any
) -> Report:
    wanted: dict[str, Any] = {"patience": SHORT, "rpc_timeout": 5.0, "max_machines": 4} | options
    return await scale_run.run(
        scale_run.ScaleSettings(soak=Soak(operations=operations), budgets=budget.parse_all(budgets)),
        Target(address=address),
        options=options_from(**wanted),
        ledger_at=lambda run: directory / f"{run}.ndjson",
    )


def judged_alone(core: Core, directory: Path, *, rpc_delay: float = 0.0, **options: Any) -> Report:
    """The report of a run on a provider that is served for this run only."""

    async def serve_and_churn() -> Report:
        async with serving(core, rpc_delay=rpc_delay) as address:
            return await churned(address, directory, **options)

    return asyncio.run(serve_and_churn())


@asynccontextmanager
async def served(core: Core) -> AsyncIterator[str]:
    async with serving(core) as address:
        yield address


def test_a_churn_judges_measures_and_cleans_up(tmp_path: Path) -> None:
    core = provider(16, latency=0.002)
    report = judged_alone(core, tmp_path)
    assert report.verdict is Verdict.CONFORMANT
    assert report.exit_code == 0
    assert states_of(core) == {}
    scale = report.figures
    assert isinstance(scale, ScaleFigures)
    assert scale.operations >= 60
    assert scale.disagreements == 0
    assert (scale.fleet.fewest, scale.fleet.most) == (16, 16)
    assert set(scale.latencies) >= {"Create", "Configure", "Drain", "Get", "List", "Delta", "Page"}
    assert report.bill.peak_machines <= 4
    assert report.bill.create <= scale.most_creates == 40
    text = "\n".join(terminal.closing(report))
    assert "scale      4 machines at once for 60ops" in text
    assert "0 disagreements" in text


@pytest.mark.parametrize(("creates", "operations"), [(1, 20), (6, 100)])
def test_the_budget_of_creates_is_kept(creates: int, operations: int, tmp_path: Path) -> None:
    core = provider(16)
    report = judged_alone(core, tmp_path, max_creates=creates, operations=operations)
    assert report.bill.create <= creates
    assert report.verdict is Verdict.CONFORMANT
    assert isinstance(report.figures, ScaleFigures)
    assert report.figures.operations >= operations  # the live machines go on
    assert states_of(core) == {}


def test_an_exceeded_latency_budget_changes_the_exit_code_and_not_the_verdict(tmp_path: Path) -> None:
    budgets = ("create.p50=5ms", "list.max=60s", "get.p99=1h")
    report = judged_alone(provider(16), tmp_path, rpc_delay=0.01, budgets=budgets)
    assert report.verdict is Verdict.CONFORMANT
    assert isinstance(report.figures, ScaleFigures)
    assert [result.budget.name for result in report.figures.over] == ["create.p50"]
    assert report.exit_code == 1
    assert terminal.closing(report)[0].startswith("verdict    CONFORMANT, over budget: ")


def test_an_unmeasured_budget_makes_the_run_inconclusive(tmp_path: Path) -> None:
    report = judged_alone(provider(16, deletes=False), tmp_path, budgets=("delete.p99=1h",))
    assert report.verdict is Verdict.CONFORMANT
    assert report.exit_code == 3
    assert isinstance(report.figures, ScaleFigures)
    assert sections.lines(report.figures.sections)[0].startswith("UNMEASURED budget delete.p99")


def test_without_a_machine_to_drive_nothing_is_touched(tmp_path: Path) -> None:
    core = provider(4)
    with pytest.raises(TargetError, match="no machine can be driven; nothing was touched"):
        judged_alone(core, tmp_path, max_creates=0)
    assert states_of(core) == {}


class OutOfHosts(Faults):
    """Every Create fails."""

    __slots__ = ()

    def apply(self, operation: Operation, machine: Machine, now: float) -> Operation:
        doomed = replace(operation, due=now + 0.002, error="there is no host left")
        return doomed if operation.verb is Verb.CREATE else operation


def test_a_failed_transition_is_not_a_violation(tmp_path: Path) -> None:
    core = Core(fleet(12), latency=Latency.every(0.002), faults=OutOfHosts())
    report = judged_alone(core, tmp_path)
    assert [f"{r.id}: {r.reason}" for r in report.violations.values()] == []
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.stopped == "no machine is left to drive"
    assert sorted(states_of(core)) == sorted(machine for machine, _ in report.home.failed)  # FAILED has no edge
    assert report.bill.create <= 10


class BoundMachinesShowAnError(Core):
    """A CONFIGURED machine shows a last_error, which only FAILED may have (SHP-4)."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, last_error="old") if machine.state is State.CONFIGURED else machine


class ListMixesHosts(Core):
    """List shows bound machines with the cluster of the machine that was bound first (LIF-6)."""

    def shown_in_list(self, machine: Machine) -> Machine:
        bound = min((each for each in self.machines.values() if each.cluster), key=attrgetter("id"), default=machine)
        return replace(machine, cluster=bound.cluster) if machine.cluster else machine


@pytest.mark.parametrize(
    ("cls", "behaviour", "rpcs"),
    [(BoundMachinesShowAnError, "SHP-4a", ["Get"]), (ListMixesHosts, "LIF-6scale", ["Configure", "List"])],
)
def test_breaches_during_the_churn_are_reported_with_the_calls_that_contradict_each_other(
    cls: type[Core], behaviour: str, rpcs: list[str], tmp_path: Path
) -> None:
    report = judged_alone(provider(16, latency=0.002, cls=cls), tmp_path)
    assert report.exit_code == 1
    found = report.violations[behaviour]
    assert [call.rpc for call in found.calls] == rpcs
    assert found.decisive == tuple(range(len(rpcs)))


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    core = provider(40, latency=0.005)

    async def both() -> list[Report]:
        async with served(core) as address:
            return await asyncio.gather(*(churned(address, tmp_path, operations=150) for _ in range(2)))

    for report in asyncio.run(both()):
        assert [f"{r.id}: {r.reason}" for r in report.violations.values()] == []
        assert report.verdict is Verdict.CONFORMANT
        assert report.home.clean
    assert states_of(core) == {}


def test_another_client_that_takes_and_returns_machines_causes_no_violation(tmp_path: Path) -> None:
    core = provider(8, latency=0.002)

    async def scene() -> Report:
        async with served(core) as address:
            other = asyncio.create_task(churned(address, tmp_path, operations=10_000, max_machines=8, seed=3))
            report = await churned(address, tmp_path, operations=100, max_machines=8)
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
            return report

    report = asyncio.run(scene())
    assert [f"{r.id}: {r.reason}" for r in report.violations.values()] == []


def test_a_stopped_run_is_inconclusive_and_cleans_up(tmp_path: Path) -> None:
    core = provider(16, latency=0.01)
    report = judged_alone(core, tmp_path, operations=1_000_000, timeout=0.7)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.exit_code == 3
    assert report.stopped == "--timeout 0.7 s is over"
    assert report.home.clean
    assert states_of(core) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_cleans_up(number: signal.Signals, tmp_path: Path) -> None:
    with process.serving("--machines", "16", "--latency", "20ms") as served:
        command = ("conformance-run", "--target", served.address, "--lane", "scale", "--soak", "10m")
        with process.running(*command, "--report-dir", str(tmp_path / "out")) as kit:
            assert kit.says("churn")
            kit.signal(number)
            done = kit.done(PROCESS_SECONDS)
        assert done.code == 3, done.text
        assert "Traceback" not in done.text
        assert served.away() == {}, done.text
    report = records.read(tmp_path / "out" / "report.json")
    assert report.stopped == f"interrupted ({number.name})"


def test_a_dead_target_ends_the_run_and_the_report_names_the_remaining_machines(tmp_path: Path) -> None:
    with process.serving("--machines", "16", "--latency", "20ms") as served:
        command = ("conformance-run", "--target", served.address, "--lane", "scale", "--soak", "10m")
        timeouts = ("--connect-timeout", "1s", "--patience", "2s", "--report-dir", str(tmp_path / "out"))
        with process.running(*command, *timeouts) as kit:
            assert kit.says("churn")
            served.kill()
            done = kit.done(PROCESS_SECONDS)
    assert done.code == 3, done.text
    assert "Traceback" not in done.text
    assert "the target is gone" in done.verdict
    assert "NOT RETURNED" in done.out


def test_all_report_formats_contain_the_figures(tmp_path: Path) -> None:
    with process.serving("--machines", "16", "--rpc-delay", "5ms") as served:
        options = (*SHORT_CHURN, "--budget", "list.p99=1ms,")
        refused = process.judge(served, *options, directory=tmp_path / "refused", limit=PROCESS_SECONDS)
        assert refused.code == 2
        assert refused.err.splitlines()[0] == "error: '1ms,' is not a duration"
        done = process.judge(
            served,
            *SHORT_CHURN,
            "--budget",
            "create.max=1ms",
            directory=tmp_path / "out",
            limit=PROCESS_SECONDS,
        )
    assert done.code == 1, done.text
    written = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(written, json.loads(SCHEMA.read_text(encoding="utf-8")))
    by_report, by_log = (records.read(tmp_path / "out" / name) for name in ("report.json", "events.ndjson"))
    assert by_report.figures is not None
    assert by_report.figures == by_log.figures
    assert by_report.exit_code == 1
    assert 'name="create.max"' in (tmp_path / "out" / "junit.xml").read_text(encoding="utf-8")
    for name in ("report.html", "report.md"):
        assert "budget create.max" in (tmp_path / "out" / name).read_text(encoding="utf-8")
    assert terminal.closing(by_report)[1:] == terminal.closing(by_log)[1:]


def test_the_run_emits_progress(tmp_path: Path) -> None:
    emitted: list[events.Event] = []

    async def scene() -> None:
        async with served(provider(16, latency=0.01)) as address:
            await scale_run.run(
                scale_run.ScaleSettings(soak=Soak(seconds=2.5)),
                Target(address=address),
                options=options_from(patience=SHORT, max_machines=4),
                ledger_at=lambda run: tmp_path / f"{run}.ndjson",
                emit=emitted.append,
            )

    asyncio.run(scene())
    progress = [event.progress for event in emitted if isinstance(event, events.Progressed)]
    assert progress
    assert isinstance(progress[-1], ChurnProgress)
    assert progress[-1].operations > 0
    assert "transitions" in progress[-1].line
    notes = [event.text for event in emitted if isinstance(event, events.Noted)]
    assert notes[0] == "scale lane: 4 machines at once for 2.5s, at most 40 creates in total"
