from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.core.catalogue import Level
from conformance.core.errors import TargetError, Unsupported, UsageError, Violation
from conformance.core.lifecycle import State, Verb
from conformance.core.stop import Stop
from conformance.engine import run as engine_run
from conformance.engine.options import Options
from conformance.results import events
from conformance.results.result import Status, Verdict
from conformance.rpc.target import Target
from fake_provider.fleet import fleet
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from tests.runs import SHORT, judged, nothing, options_from, proof, provider, states_of

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Behaviour
    from conformance.testkit.trial import Trial
    from fake_provider.core import Core

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def several(count: int, body: Any = nothing, **needs: Any) -> list[Behaviour]:
    return [proof(body, f"TST-1{letter}", **needs) for letter in LETTERS[:count]]


def run(*plan: Behaviour, core: Core | None = None, **options: Any) -> Report:
    return asyncio.run(judged(plan, core, **options))


def statuses(report: Report) -> dict[str, Status]:
    return {result.id: result.status for result in report.results}


async def round_trip(trial: Trial) -> None:
    await trial.drive(trial.machine, Verb.CONFIGURE)
    await trial.drive(trial.machine, Verb.DRAIN)


async def breaks(trial: Trial) -> None:
    raise Violation("this", "that")


async def hangs(trial: Trial) -> None:
    await asyncio.Event().wait()


def test_a_run_judges_all_cleans_up_and_counts() -> None:
    core = provider(8, latency=0.002)
    report = run(*several(3, round_trip, machines=1, transitions=2), core=core)
    assert report.verdict is Verdict.CONFORMANT
    assert report.exit_code == 0
    assert states_of(core) == {}
    assert report.home.clean
    bill = report.bill
    assert bill.create == bill.delete == bill.peak_machines
    assert (bill.configure, bill.drain) == (3, 3)
    assert bill.machine_seconds > 0
    assert 0 < report.time.critical_path <= report.time.wall


def test_results_are_in_the_order_of_the_plan() -> None:
    last = asyncio.Event()

    async def waits(trial: Trial) -> None:
        await last.wait()

    async def releases(trial: Trial) -> None:
        last.set()

    report = run(proof(waits, "TST-1a"), proof(releases, "TST-1b"))
    assert list(statuses(report)) == ["TST-1a", "TST-1b"]


def test_behaviours_run_together() -> None:
    here: list[str] = []
    all_here = asyncio.Event()

    async def meets(trial: Trial) -> None:
        here.append(trial.machine.id)
        if len(here) == 4:
            all_here.set()
        await all_here.wait()

    report = run(*several(8, meets, machines=1, transitions=20), timeout=20.0)
    assert set(statuses(report).values()) == {Status.PASSED}
    assert len(set(here)) >= 4


class Crowd:
    """Counts the bodies that run at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self, trial: Trial) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await (round_trip(trial) if trial.machines else trial.list())
        self.now -= 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_at_most_jobs_behaviours_run_at_once(jobs: int) -> None:
    crowd = Crowd()
    report = run(*several(6, crowd, machines=1, transitions=2), core=provider(16, latency=0.002), jobs=jobs)
    assert set(statuses(report).values()) == {Status.PASSED}
    assert crowd.most == jobs
    assert report.bill.peak_machines <= jobs
    without_machines = Crowd()
    run(*several(6, without_machines), jobs=jobs)
    assert without_machines.most == jobs


def test_one_job_reuses_one_machine() -> None:
    report = run(*several(5, round_trip, machines=1, transitions=2), jobs=1)
    assert (report.bill.create, report.bill.peak_machines) == (1, 1)


@pytest.mark.parametrize("most", [2, 3])
def test_at_most_max_machines_are_alive(most: int) -> None:
    core = provider(16, latency=0.003)
    plan = [
        *several(8, round_trip, machines=1, transitions=2),
        proof(nothing, "TST-2a", machines=2),
        proof(nothing, "TST-2b", machines=2, start=State.SPECULATIVE),
        proof(nothing, "TST-2c", machines=2, start=State.CONFIGURED),
    ]
    report = run(*plan, core=core, max_machines=most)
    assert set(statuses(report).values()) == {Status.PASSED}
    assert report.bill.peak_machines == most


def test_a_behaviour_that_needs_a_quiet_fleet_runs_alone() -> None:
    others = Crowd()

    async def alone(trial: Trial) -> None:
        assert others.now == 0
        before = {m.id: m.state for m in (await trial.list()).machines}
        await asyncio.sleep(0.01)
        assert {m.id: m.state for m in (await trial.list()).machines} == before

    plan = [*several(6, others, machines=1, transitions=2), proof(alone, "TST-2a", machines=1, alone=True)]
    report = run(*plan, core=provider(16, latency=0.002))
    assert {r.id: r.reason for r in report.results if r.status is not Status.PASSED} == {}


def test_failures_warnings_skips_and_bugs_are_distinguished() -> None:
    async def lacks(trial: Trial) -> None:
        raise Unsupported("too fast")

    async def stumbles(trial: Trial) -> None:
        raise KeyError("oops")

    report = run(
        proof(nothing, "TST-1a"),
        proof(breaks, "TST-1b"),
        proof(breaks, "TST-1c", level=Level.SHOULD),
        proof(lacks, "TST-1d"),
        proof(stumbles, "TST-1e"),
        proof(nothing, "TST-1f", capabilities=["tls"]),
    )
    assert [result.status.value for result in report.results] == [
        "passed",
        "failed",
        "warned",
        "skipped",
        "error",
        "skipped",
    ]
    assert report.results[4].reason == "the kit itself failed: KeyError: 'oops'"
    assert report.results[5].reason == "the target is not reached over TLS"


def test_the_machine_of_a_failed_behaviour_is_cleaned_up() -> None:
    async def leaves(trial: Trial) -> None:
        await trial.machine.configure(cluster="left-behind")
        raise Violation("this", "that")

    core = provider(4, latency=0.005)
    report = run(proof(leaves, machines=1), core=core)
    assert report.exit_code == 1
    assert report.home.clean
    assert states_of(core) == {}


# Runs that end early.


def test_a_stop_cancels_all_jobs_and_cleans_up() -> None:
    stop, core = None, provider(8, latency=0.002)

    async def go() -> Report:
        nonlocal stop
        stop = halt = Stop()

        def emit(event: events.Event) -> None:
            if isinstance(event, events.BehaviourStarted):
                halt("interrupted")

        return await judged(several(3, hangs, machines=1), core, stop=halt, emit=emit, jobs=2)

    report = asyncio.run(go())
    assert set(statuses(report).values()) == {Status.ERROR}
    assert {result.reason for result in report.results} == {"not judged: interrupted"}
    assert (report.stopped, report.exit_code) == ("interrupted", 3)
    assert report.bill.create >= 1
    assert report.home.clean
    assert states_of(core) == {}


def test_a_run_ends_at_its_timeout() -> None:
    core = provider(4)
    report = run(proof(nothing, "TST-1a"), proof(hangs, "TST-1b", machines=1), core=core, timeout=0.3)
    assert statuses(report) == {"TST-1a": Status.PASSED, "TST-1b": Status.ERROR}
    assert report.stopped == "--timeout 0.3 s is over"
    assert states_of(core) == {}


def test_fail_fast_ends_the_run_at_the_first_failure() -> None:
    plan = [proof(breaks, "TST-1a", machines=1, transitions=9), *several(4, machines=1, transitions=1)[1:]]
    report = run(*plan, jobs=1, fail_fast=True)
    assert statuses(report) == {
        "TST-1a": Status.FAILED,
        "TST-1b": Status.ERROR,
        "TST-1c": Status.ERROR,
        "TST-1d": Status.ERROR,
    }
    assert (report.stopped, report.exit_code) == ("--fail-fast", 1)
    assert report.home.clean


def test_fail_fast_ignores_warnings() -> None:
    warned = proof(breaks, "TST-1a", level=Level.SHOULD, machines=1, transitions=9)
    report = run(warned, *several(3, machines=1)[1:], jobs=1, fail_fast=True)
    assert report.stopped is None


def test_behaviours_beyond_max_creates_are_not_judged() -> None:
    plan = [proof(nothing, "TST-1a", machines=1, transitions=9), proof(nothing, "TST-1b", machines=2)]
    report = run(*plan, jobs=1, max_creates=1)
    assert statuses(report) == {"TST-1a": Status.PASSED, "TST-1b": Status.ERROR}
    assert "--max-creates 1 is reached" in report.results[1].reason
    assert (report.bill.create, report.verdict, report.exit_code) == (1, Verdict.INCONCLUSIVE, 3)
    assert report.home.clean


def test_kept_machines_are_named() -> None:
    core = provider(4)
    report = run(proof(round_trip, machines=1, transitions=2), core=core, keep=True)
    ((machine, state),) = states_of(core).items()
    assert report.home.left == ((machine, f"kept, {state}"),)
    assert report.exit_code == 0


def test_a_lost_target_ends_the_run_and_remaining_machines_are_named() -> None:
    async def go() -> Report:
        async with AsyncExitStack() as up:
            address = await up.enter_async_context(serving(provider(8), grace=0.0))

            async def pulls_the_plug(trial: Trial) -> None:
                await up.aclose()
                await trial.machine.read()

            return await engine_run.run(
                (
                    proof(pulls_the_plug, "TST-1a", machines=1, transitions=9),
                    proof(nothing, "TST-1b", machines=1, transitions=1),
                ),
                Target(address=address),
                options=options_from(jobs=1, patience=SHORT, rpc_timeout=1.0, connect_timeout=0.2),
                ledger_at=lambda name: Path(directory) / name,
            )

    with tempfile.TemporaryDirectory() as directory:
        report = asyncio.run(go())
    assert set(statuses(report).values()) == {Status.ERROR}
    assert str(report.stopped).startswith("the target is gone: ")
    assert len(report.home.left) == 1
    assert report.exit_code == 3


# Before the first machine.


def test_the_timeout_includes_the_probe() -> None:
    error = refused(proof(nothing, machines=1), core=provider(1), timeout=0.2, serve={"rpc_delay": 60.0})
    assert error.message == "--timeout 0.2 s is over before any machine was started"


def refused(*plan: Behaviour, core: Core, **options: Any) -> TargetError:
    before = dict(core.machines)
    with pytest.raises(TargetError) as caught:
        run(*plan, core=core, **options)
    assert dict(core.machines) == before
    return caught.value


def test_a_shortage_of_machines_is_known_before_the_run() -> None:
    assert "up to 5 needed by 1 behaviour, found 4 SPECULATIVE" in refused(proof(machines=5), core=provider(4)).message
    assert "--max-machines 2" in refused(proof(machines=3), core=provider(4), max_machines=2).message


def test_idle_machines_are_driven_only_with_use_idle() -> None:
    core = provider(0)
    for machine in fleet(3, idle=3):
        core.put(machine)
    assert "--use-idle" in str(refused(proof(round_trip, machines=1, transitions=2), core=core))
    report = run(proof(round_trip, machines=1, transitions=2), core=core, use_idle=True)
    assert report.exit_code == 0
    assert set(states_of(core).values()) == {"IDLE"}
    assert (report.bill.create, report.bill.configure) == (0, 1)


def test_without_a_writable_ledger_no_machine_is_started(tmp_path: Path) -> None:
    core = provider(4)
    (tmp_path / "file").write_text("", encoding="utf-8")

    async def go() -> None:
        async with serving(core) as address:
            await engine_run.run(
                (proof(machines=1),),
                Target(address=address),
                options=Options(),
                ledger_at=lambda name: tmp_path / "file" / name,
            )

    with pytest.raises(UsageError, match=r"the ledger .* cannot be written"):
        asyncio.run(go())
    assert states_of(core) == {}


# Events and seeds.


def test_events_cover_the_run_from_start_to_report() -> None:
    emitted: list[events.Event] = []
    report = asyncio.run(judged(several(2, round_trip, machines=1), emit=emitted.append, seed=5))
    assert isinstance(emitted[0], events.RunStarted)
    assert (emitted[0].seed, [entry.id for entry in emitted[0].behaviours]) == (5, ["TST-1a", "TST-1b"])
    assert emitted[-1] == events.RunFinished(report=report)
    for name in ("TST-1a", "TST-1b"):
        started = [n for n, e in enumerate(emitted) if isinstance(e, events.BehaviourStarted) and e.id == name]
        ended = [n for n, e in enumerate(emitted) if isinstance(e, events.BehaviourFinished) and e.result.id == name]
        assert len(started) == len(ended) == 1
        assert started < ended


def test_a_seed_gives_each_behaviour_the_same_random_numbers() -> None:
    drawn: list[float] = []

    async def draws(trial: Trial) -> None:
        drawn.append(trial.random.random())

    run(proof(draws, "TST-1a"), seed=3)
    run(proof(nothing, "TST-1b"), proof(draws, "TST-1a"), seed=3)
    run(proof(draws, "TST-1a"), seed=4)
    assert drawn[0] == drawn[1] != drawn[2]


class Watched(Servicer):
    """Counts the concurrent Gets of one machine."""

    asking: dict[str, int]
    most = 0

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        asking = self.__dict__.setdefault("asking", {})
        asking[request.id] = asking.get(request.id, 0) + 1
        Watched.most = max(Watched.most, asking[request.id])
        try:
            return await super().Get(request, context)
        finally:
            asking[request.id] -= 1


def test_gets_of_one_machine_are_not_concurrent() -> None:
    Watched.most = 0

    async def many(trial: Trial) -> None:
        await trial.begin(trial.machine, Verb.CONFIGURE)
        await asyncio.gather(*(trial.machine.settle() for _ in range(4)))

    serve = {"servicer": Watched, "rpc_delay": 0.005}
    run(*several(3, many, machines=1, transitions=1), core=provider(8, latency=0.01), serve=serve)
    assert Watched.most == 1


def test_no_two_behaviours_and_no_two_machines_share_a_shard() -> None:
    shards: list[str] = []

    async def calls(trial: Trial) -> None:
        shards.extend([trial.new_shard().id, trial.new_shard().id, *(m.shard.id for m in trial.machines)])

    run(*several(4, calls, machines=2, transitions=9))
    own = [shard for shard in shards if "-tst-" in shard]
    assert len(own) == len(set(own)) == 8
