"""conformance-run and pytest as a user runs them: processes, real providers, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

import conformance.reporters
from conformance.reporters.report_dir import FORMATS, LOG
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.faults import Faults
from fake_provider.machine import Machine, State
from tests.runs import provider, served, states_of
from tests.testkit.test_timing import WATCHERS

BIN = Path(sys.executable).parent
SELECT = ("--select", "FEN-1a")
SCHEMA = Path(conformance.reporters.__file__).parent / "report.schema.json"


class EqualPasses(Core):
    """A fence that accepts an equal token."""

    def passes(self, verb, token, mark):  # type: ignore[no-untyped-def]
        return token == mark or super().passes(verb, token, mark)


class DeleteNeverCompletes(Core):
    """A Delete that never completes: the machine is DELETING and then FAILED."""

    def settle(self, machine):  # type: ignore[no-untyped-def]
        settled = super().settle(machine)
        deleted = machine.operation is not None and machine.operation.verb == "delete"
        return self.failed(machine, "the cloud keeps it") if deleted else settled


class KeepsMachines(Core):
    """Refuses every Delete of a machine."""

    def check_edge(self, verb, machine, request):  # type: ignore[no-untyped-def]
        if verb == "delete":
            raise Rejected(Code.ABORTED, "the cloud keeps it")
        super().check_edge(verb, machine, request)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty working directory."""
    path = tmp_path / "home"
    path.mkdir()
    return path


def go(
    home: Path, *arguments: str, program: str = "conformance-run", **environment: str
) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_TARGET") and not k.startswith("PYTEST")}
    env = {**kept, "XDG_STATE_HOME": str(home / "state"), "COLUMNS": "100", **environment}
    return subprocess.run(
        [BIN / program, *arguments], cwd=home, env=env, capture_output=True, text=True, timeout=50, check=False
    )


def test_a_conformant_provider_is_exit_0_with_all_files_and_nothing_left(home: Path) -> None:
    core = provider(8)
    with served(core) as address:
        ran = go(home, "--target", address, *SELECT, "--report-dir", "out", "--no-color", "--seed", "7")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\x1b" not in ran.stdout
    assert "PASSED  FEN-1a" in ran.stdout
    assert "verdict    CONFORMANT: 1 passed, partial run" in ran.stdout
    assert states_of(core) == {}
    files = {path.name for path in (home / "out").iterdir()}
    assert files == {LOG, "ledger.ndjson", *FORMATS}
    report = json.loads((home / "out" / "report.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(report)
    assert (report["target"], report["seed"], report["whole"]) == (address, 7, False)
    assert ElementTree.parse(home / "out" / "junit.xml").getroot().get("failures") == "0"
    last = (home / "out" / "events.ndjson").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last)["event"] == "run-finished"


@pytest.mark.timeout(60)
def test_transitions_of_the_embedded_fake_are_long_enough_to_be_observed(home: Path) -> None:
    ran = go(home, "--fake", "--select", ",".join(WATCHERS), "--report-dir", "out", "--seed", "7")
    report = json.loads((home / "out" / "report.json").read_text(encoding="utf-8"))
    assert {each["id"]: each["status"] for each in report["behaviours"]} == dict.fromkeys(WATCHERS, "passed"), ran


def test_a_provider_that_breaks_a_must_is_exit_1_with_what_was_wanted_and_got(home: Path) -> None:
    with served(provider(8, cls=EqualPasses)) as address:
        ran = go(home, "--target", address, *SELECT, "--quiet")
    assert ran.returncode == 1
    assert "FAILED FEN-1a" in ran.stdout
    assert "  clause  FEN-1 MUST: " in ran.stdout
    assert "  wanted  " in ran.stdout
    assert "  got     " in ran.stdout
    assert "verdict    NON-CONFORMANT" in ran.stdout
    assert "plan  " not in ran.stdout


def test_the_environment_names_the_target(home: Path) -> None:
    with served(provider(8)) as address:
        ran = go(home, *SELECT, BIGFLEET_PROVIDER_TARGET=address)
    assert ran.returncode == 0
    assert f"target     {address}" in ran.stdout


def test_verbose_shows_the_calls(home: Path) -> None:
    ran = go(home, "--fake", *SELECT, "--verbose", "--no-color")
    assert ran.returncode == 0
    assert "FAILED_PRECONDITION" in ran.stdout


def test_a_clean_run_deletes_its_ledger(home: Path) -> None:
    assert go(home, "--fake", *SELECT).returncode == 0
    assert list((home / "state").rglob("*.ndjson")) == []


def test_an_unreachable_target_is_exit_3_with_one_line_and_a_report(home: Path) -> None:
    ran = go(home, "--target", "127.0.0.1:1", *SELECT, "--connect-timeout", "200ms", "--report-dir", "out")
    assert ran.returncode == 3
    assert ran.stderr.splitlines()[0] == "error: target 127.0.0.1:1 refuses connections"
    assert "Traceback" not in ran.stderr + ran.stdout
    report = json.loads((home / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["verdict"], report["found"]) == ("inconclusive", {})
    assert {b["status"] for b in report["behaviours"]} == {"error"}


def test_a_fleet_that_is_too_small_is_exit_3(home: Path) -> None:
    with served(Core([])) as address:
        ran = go(home, "--target", address, *SELECT)
    assert ran.returncode == 3
    assert ran.stderr.startswith("error: too few machines: ")


def test_a_budget_of_no_machines_judges_nothing_and_is_exit_3(home: Path) -> None:
    ran = go(home, "--fake", *SELECT, "--max-creates", "0")
    assert ran.returncode == 3
    assert "--max-creates 0 is reached" in ran.stdout


def test_a_machine_that_is_left_is_exit_4_and_named_with_the_fix(home: Path) -> None:
    with served(provider(8, cls=KeepsMachines)) as address:
        ran = go(home, "--target", address, *SELECT)
    assert ran.returncode == 4, ran.stdout
    assert "clean-up   1 machine NOT RETURNED. To clean up, run:\n           conformance sweep " in ran.stdout
    (ledger,) = (home / "state").rglob("*.ndjson")
    assert str(ledger) in ran.stdout


def test_a_machine_that_ends_in_failed_is_named_and_blocks_nothing(home: Path) -> None:
    with served(provider(8, cls=DeleteNeverCompletes, faults=Faults())) as address:
        for _ in range(2):
            ran = go(home, "--target", address, *SELECT, "--report-dir", "out")
            assert ran.returncode == 0, ran.stdout
            assert "1 machine of this run ended in FAILED" in ran.stdout
            assert "the cloud keeps it" in ran.stdout
            assert "NOT RETURNED" not in ran.stdout


def test_kept_machines_can_be_swept(home: Path) -> None:
    core = provider(8)
    with served(core) as address:
        kept = go(home, "--target", address, *SELECT, "--keep", "--report-dir", "out")
        assert kept.returncode == 0
        assert len(states_of(core)) == 1
        swept = go(home, "sweep", "out/ledger.ndjson", "--target", address, program="conformance")
    assert (swept.returncode, swept.stdout.splitlines()[-1]) == (0, "all started machines were cleaned up")
    assert states_of(core) == {}


def test_headers_and_key_files_are_in_no_output(home: Path) -> None:
    with served(provider(8)) as address:
        ran = go(
            home,
            *("--target", address, *SELECT, "--verbose", "--report-dir", "out"),
            *("--header", "authorization=Bearer s3cret"),
        )
    assert ran.returncode == 0
    written = "".join(path.read_text(encoding="utf-8") for path in (home / "out").iterdir())
    assert "s3cret" not in ran.stdout + ran.stderr + written


def hostile_surroundings(home: Path) -> dict[str, str]:
    (home / "conftest.py").write_text("raise SystemExit('a foreign conftest was read')\n", encoding="utf-8")
    (home / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n", encoding="utf-8")
    (home / "foreign.py").write_text("raise SystemExit('a foreign plugin was read')\n", encoding="utf-8")
    return {"PYTEST_ADDOPTS": "--no-such-option", "PYTEST_PLUGINS": "foreign"}


def test_a_run_ignores_ini_files_conftests_plugins_and_environment_of_pytest(home: Path) -> None:
    environment = hostile_surroundings(home)
    ran = go(home, "--fake", *SELECT, **environment)
    assert (ran.returncode, ran.stderr) == (0, "")


# Runs through pytest.


def through_pytest(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return go(
        home, "--pyargs", "conformance.suite", "-p", "no:cacheprovider", *arguments, program="pytest", **environment
    )


def conformance_options(*options: str) -> str:
    return "--conformance=" + " ".join(options)


def test_pytest_judges_a_provider_and_prints_the_verdict(home: Path) -> None:
    core = provider(8)
    with served(core) as address:
        ran = through_pytest(home, "--target", address, conformance_options(*SELECT))
    assert ran.returncode == 0
    assert "1 passed" in ran.stdout
    assert "verdict    CONFORMANT: 1 passed" in ran.stdout
    assert states_of(core) == {}


def test_precedence_is_the_same_in_pytest(home: Path) -> None:
    lines = ('target = "127.0.0.1:1"', 'select = "FEN-1a"', "examples = 3", "seed = 3")
    (home / "conformance.toml").write_text("\n".join((*lines, 'report-dir = "out"')), encoding="utf-8")
    with served(provider(8)) as address:
        ran = through_pytest(
            home, "--target", address, "--conformance=--max-machines 3", CONFORMANCE_SEED="2", CONFORMANCE_TARGET="x:1"
        )
    assert ran.returncode == 0, ran.stdout
    report = json.loads((home / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["target"], report["seed"]) == (address, 2)
    assert [b["id"] for b in report["behaviours"]] == ["FEN-1a"]


def test_pytest_needs_no_target_if_the_file_names_one(home: Path) -> None:
    with served(provider(8)) as address:
        (home / "conformance.toml").write_text(f'target = "{address}"\nselect = "FEN-1"', encoding="utf-8")
        ran = through_pytest(home, "-k", "equal_token")
        (home / "conformance.toml").write_text("jbos = 1", encoding="utf-8")
        refused = through_pytest(home)
    assert ran.returncode == 0, ran.stdout
    assert "verdict    CONFORMANT: 1 passed" in ran.stdout
    assert (refused.returncode, "did you mean jobs?" in refused.stderr) == (4, True)


def test_a_run_shows_its_configuration_file(home: Path) -> None:
    (home / "conformance.toml").write_text('select = "FEN-1a"\nfake = true', encoding="utf-8")
    assert f"config     {home / 'conformance.toml'}" in go(home).stdout
    assert "config " not in go(home, "--no-config", "--fake", *SELECT).stdout


def test_a_failure_in_pytest_shows_clause_wanted_and_got(home: Path) -> None:
    with served(provider(8, cls=EqualPasses)) as address:
        ran = through_pytest(home, "--target", address, conformance_options(*SELECT))
    assert ran.returncode == 1
    assert "  clause  FEN-1 MUST: " in ran.stdout
    assert "  wanted  " in ran.stdout
    assert "FAILED " in ran.stdout
    assert "verdict    NON-CONFORMANT" in ran.stdout


def test_dash_x_ends_the_run_and_cleans_up(home: Path) -> None:
    core = provider(8, cls=EqualPasses)
    with served(core) as address:
        options = conformance_options("--select", "FEN-1,MET-1", "--jobs", "1")
        ran = through_pytest(home, "--target", address, options, "-x")
    assert ran.returncode != 0
    assert "1 failed" in ran.stdout
    assert "stopped: " in ran.stdout
    assert states_of(core) == {}


def test_an_unreachable_target_fails_pytest(home: Path) -> None:
    options = conformance_options(*SELECT, "--connect-timeout", "200ms")
    ran = through_pytest(home, "--target", "127.0.0.1:1", options)
    assert ran.returncode == 3
    assert "error: target 127.0.0.1:1 refuses connections" in ran.stdout
    assert "verdict    INCONCLUSIVE" in ran.stdout


def test_a_ledger_that_cannot_be_written_fails_pytest(home: Path) -> None:
    (home / "file").write_text("", encoding="utf-8")
    ran = through_pytest(home, conformance_options("--fake", *SELECT), XDG_STATE_HOME=str(home / "file"))
    assert ran.returncode == 2
    assert "cannot be written: Not a directory" in ran.stdout


def test_a_machine_that_is_left_fails_pytest(home: Path) -> None:
    with served(provider(8, cls=KeepsMachines)) as address:
        ran = through_pytest(home, "--target", address, conformance_options(*SELECT))
    assert (ran.returncode, "clean-up   1 machine NOT RETURNED" in ran.stdout) == (4, True)


class LastErrorAfterTheDrain(Core):
    """Breaks SHP-4 where only the clean-up looks: the only Drain of a run."""

    drains = 0

    def settle(self, machine: Machine) -> Machine:
        settled = super().settle(machine)
        if machine.state is not State.DRAINING:
            return settled
        self.drains += 1
        return replace(settled, last_error="a pod did not stop in time") if self.drains == 1 else settled


def test_a_breach_that_only_the_clean_up_shows_is_an_error_after_the_item(home: Path) -> None:
    with served(provider(8, cls=LastErrorAfterTheDrain)) as address:
        ran = through_pytest(home, "--target", address, conformance_options("--select", "SHP-4a,MET-1a"))
    assert ran.returncode == 1
    assert "ERROR at teardown" in ran.stdout
    assert re.search(r"= 2 passed, \d+ deselected, 1 error in", ran.stdout)


def test_collecting_needs_no_target(home: Path) -> None:
    ran = through_pytest(home, "--collect-only", "-q")
    assert ran.returncode == 0
    assert "test_an_equal_token_is_fenced" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "behaviours need a provider: add --target host:port, or --conformance=--fake"),
        (["--target", "localhost"], "target 'localhost' is not an address"),
        (["--conformance=--fake --jobs 0"], "--jobs"),
        (["--conformance=--fake", "-n", "2"], "remove -n (pytest-xdist)"),
        (["--conformance='--fake"], "No closing quotation"),
    ],
)
def test_invalid_arguments_are_usage_errors_of_pytest(home: Path, arguments: list[str], message: str) -> None:
    ran = through_pytest(home, *arguments)
    assert ran.returncode == 4, ran.stdout
    assert message in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr


def test_the_plugin_imports_almost_nothing_in_other_test_runs(home: Path) -> None:
    (home / "test_other.py").write_text(
        "import sys\ndef test_other():\n"
        "    unwanted = {'grpc', 'click', 'conformance.frontends.cli.main', 'conformance.engine.run'}\n"
        "    assert not unwanted & set(sys.modules)\n",
        encoding="utf-8",
    )
    ran = go(home, "-q", "-p", "no:cacheprovider", "test_other.py", program="pytest")
    assert ran.returncode == 0, ran.stdout
