"""`conformance.run()`: judges a provider that the tests of another project have started, in their process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

import conformance
from conformance.results import events
from fake_provider.server import serving
from tests.frontends.cli.test_runs import EqualPasses
from tests.runs import provider, served, states_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory, with a configuration file and variables that must have no effect."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("CONFORMANCE_SELECT", "LIF")
    monkeypatch.setenv("CONFORMANCE_JOBS", "many")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conformance.toml").write_text("jbos = 1", encoding="utf-8")
    return tmp_path / "state"


def test_a_provider_is_judged_and_left_as_it_was_found(state: Path) -> None:
    core = provider(8)
    with served(core) as address:
        report = conformance.run(address, select=["FEN-1a", "MET-1"], seed=7, patience="5s", rpc_timeout=5)
    assert report.verdict is conformance.Verdict.CONFORMANT
    assert (report.target, report.seed, report.whole) == (address, 7, False)
    assert {result.entry.clause.id for result in report.results} == {"FEN-1", "MET-1"}
    assert states_of(core) == {}
    assert list(state.rglob("*.ndjson")) == []


def test_a_broken_clause_is_explained_and_is_not_an_exception() -> None:
    with served(provider(8, cls=EqualPasses)) as address:
        report = conformance.run(address, select="FEN-1a")
    assert report.verdict == "non-conformant"
    text = conformance.explain(report)
    assert "FAILED FEN-1a" in text
    assert "  wanted  " in text
    assert "verdict    NON-CONFORMANT" in text


def test_the_report_directory_is_that_of_the_command_line(tmp_path: Path) -> None:
    with served(provider(8)) as address:
        conformance.run(address, select="FEN-1a", report_dir=tmp_path / "out")
    assert {"report.json", "junit.xml", "events.ndjson", "ledger.ndjson"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }


def test_emit_receives_all_events() -> None:
    received: list[events.Event] = []
    with served(provider(8)) as address:
        report = conformance.run(address, select="FEN-1a", emit=received.append)
    assert isinstance(received[0], events.RunStarted)
    assert received[-1] == events.RunFinished(report=report)


def test_machines_are_cleaned_up_if_a_listener_raises() -> None:
    def breaks(event: events.Event) -> None:
        if isinstance(event, events.BehaviourStarted):
            raise ZeroDivisionError("an error of the listener")

    core = provider(8)
    with served(core) as address, pytest.raises(ZeroDivisionError, match="an error of the listener"):
        conformance.run(address, select="FEN-1a", emit=breaks)
    assert states_of(core) == {}


def test_run_in_a_running_loop_names_run_async() -> None:
    async def caller() -> conformance.Report:
        async with serving(provider(8)) as address:
            with pytest.raises(conformance.UsageError, match=r"await conformance\.run_async\(target, …\)"):
                conformance.run(address, select="FEN-1a")
            return await conformance.run_async(address, select="FEN-1a")

    assert asyncio.run(caller()).verdict == "conformant"


def test_cancellation_cleans_up_all_machines_first() -> None:
    core = provider(8, latency=0.05)
    machine_started = asyncio.Event()

    def emit(event: events.Event) -> None:
        if core.machines and states_of(core):
            machine_started.set()

    async def caller() -> None:
        async with serving(core) as address:
            task = asyncio.create_task(conformance.run_async(address, select="FEN,LIF", emit=emit, jobs=2))
            await machine_started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(caller())
    assert states_of(core) == {}


def test_ctrl_c_raises_keyboard_interrupt_after_the_clean_up() -> None:
    core = provider(8, latency=0.05)
    states_at_interrupt: list[dict[str, str]] = []

    def interrupt(event: events.Event) -> None:
        if states_of(core) and not states_at_interrupt:
            states_at_interrupt.append(states_of(core))
            os.kill(os.getpid(), signal.SIGINT)

    # If a shell runs the tests in the background, SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with served(core) as address, pytest.raises(KeyboardInterrupt):
            conformance.run(address, select="FEN", jobs=1, emit=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert states_at_interrupt
    assert states_of(core) == {}


def test_signals_threads_and_the_threads_event_loop_stay_unchanged() -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with served(provider(8)) as address:
            threads = set(threading.enumerate())
            conformance.run(address, select="FEN-1a")
            new = {thread.name for thread in set(threading.enumerate()) - threads if not thread.daemon}
        assert new == set()
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
        assert {number: signal.getsignal(number) for number in before} == before
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_it_works_in_another_thread() -> None:
    reports: list[conformance.Report] = []
    with served(provider(8)) as address:
        thread = threading.Thread(target=lambda: reports.append(conformance.run(address, select="FEN-1a")))
        thread.start()
        thread.join(50)
    assert [report.verdict for report in reports] == ["conformant"]


def test_the_api_rejects_what_the_command_line_rejects() -> None:
    invalid: tuple[tuple[dict[str, Any], str], ...] = (
        ({"jobs": 0}, "--jobs"),
        ({"patience": "soon"}, "'soon' is not a duration"),
        ({"select": "FEM"}, "did you mean FEN"),
        ({"require": ["teleport"]}, "unknown capability"),
        ({"header": ["authorization"]}, "not key=value"),
    )
    for options, message in invalid:
        with pytest.raises(conformance.UsageError, match=message):
            conformance.run("127.0.0.1:1", **options)
    with pytest.raises(conformance.UsageError, match="is not an address"):
        conformance.run("localhost")


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="did you mean max_machines"):
        conformance.run("127.0.0.1:1", max_machine=3)
    for options in ({"fake": True}, {"verbose": True}, {"config": "a.toml"}):
        with pytest.raises(TypeError, match="unknown option"):
            conformance.run("127.0.0.1:1", **cast("dict[str, Any]", options))


def test_an_unreachable_target_is_a_target_error() -> None:
    with pytest.raises(conformance.TargetError, match="refuses connections"):
        conformance.run("127.0.0.1:1", connect_timeout="200ms")


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys, conformance\n"
        "assert not {m for m in sys.modules if m.startswith('conformance.')}\n"
        "assert not {'grpc', 'click', 'pytest', 'rich', 'hypothesis'} & set(sys.modules)\n"
        "assert all(hasattr(conformance, name) for name in conformance.__all__)\n"
        "assert not {'pytest', '_pytest', 'rich'} & set(sys.modules)\n"
        "assert not hasattr(conformance, 'nonsense')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
