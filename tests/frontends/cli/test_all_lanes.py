"""`--lane all` as a process: one provider, each lane in turn, and the certificate."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.core.errors import UsageError
from conformance.frontends.cli import main as cli_main
from conformance.frontends.cli.commands.run import parse_run
from tests.provider_process import Provider, serving

ROOT = Path(__file__).parents[3]
SERVE = f"{sys.executable} -m fake_provider serve --port {{port}} --latency 20ms"
DURABLE = f"{SERVE} --state {{dir}} --hosts-log {{dir}}/hosts"
REAL = ("conformance", "scale", "faults", "durability")
TIMEOUT = 300
pytestmark = pytest.mark.timeout(TIMEOUT + 60)


def script(*packages: str) -> str:
    """Returns a program that is the kit, with some lanes only if `packages` names them."""
    chosen = f"from conformance import lanes; lanes.PACKAGES[:] = {list(packages)!r}; " if packages else ""
    return f"{chosen}from conformance.__main__ import main; main()"


def command(*arguments: str, packages: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs `conformance run --lane all` to its end."""
    words = [sys.executable, "-c", script(*packages), "run", "--no-config", "--lane", "all", *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def read(directory: Path) -> Any:
    return json.loads((directory / "certificate.json").read_text(encoding="utf-8"))


def rows(found: Any, kind: str, name: str) -> dict[str, Any]:
    return {row[name]: row for row in found[kind]}


TINY = "tests.tiny_lane"
TINY_AND_DURABILITY = (TINY, "conformance.lanes.durability")


def test_a_real_run_of_all_lanes_claims_their_profiles_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    started = ("--provider-cmd", DURABLE, "--hosts-cmd", "cat {dir}/hosts", "--start-timeout", "60s")
    done = command(*started, "--seed", "7", "--report-dir", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lane 1 of " in done.stdout
    found = read(out)
    assert (found["verdict"], found["seed"]) == ("conformant", 7)
    lanes, profiles = rows(found, "lanes", "lane"), rows(found, "profiles", "name")
    for lane in REAL:
        assert lanes[lane]["verdict"] == "conformant"
        report = json.loads((out / lanes[lane]["report"]).read_text(encoding="utf-8"))
        assert (report["coverage"]["lane"], report["seed"], report["home"]["clean"]) == (lane, 7, True)
        assert lanes[lane]["creates"] == report["bill"]["create"]
    assert lanes["durability"]["restarts"] > 10
    assert sum(row["creates"] for row in found["lanes"]) <= 60
    assert all(profiles[name]["claimed"] for name in ("core", "cloud", "spot", "faults", "durable", "scale"))
    assert (out / "provider-state" / "hosts").read_text() == ""
    for name in ("certificate.md", "certificate.html", "badge-core.json", "provider.log"):
        assert (out / name).stat().st_size


def test_a_provider_that_forgets_everything_is_found_by_its_lane_and_named_first(tmp_path: Path) -> None:
    """It conforms while it runs. Its profile falls, and no other one."""
    done = command("--provider-cmd", SERVE, "--report-dir", str(tmp_path), packages=TINY_AND_DURABILITY)
    assert done.returncode == 1, done.stdout + done.stderr
    found = read(tmp_path)
    assert found["verdict"] == "non-conformant"
    first = found["clauses"][0]
    assert (first["clause"], first["status"], first["lanes"]) == ("DUR-1", "broken", ["durability"])
    profiles = rows(found, "profiles", "name")
    assert not profiles["durable"]["claimed"]
    assert "failed in the durability lane" in profiles["durable"]["reason"]
    table = done.stdout[done.stdout.index("BROKEN       DUR-1 MUST, durability lane") :]
    assert "certificate  NON-CONFORMANT" in table
    assert json.loads((tmp_path / "badge-durable.json").read_text())["color"] == "red"


@pytest.fixture(scope="module")
def provider() -> Any:
    with serving("--latency", "20ms") as running:
        yield running


def test_a_lane_that_needs_more_than_the_target_is_named(provider: Provider, tmp_path: Path) -> None:
    done = command("--target", provider.address, "--report-dir", str(tmp_path), packages=TINY_AND_DURABILITY)
    assert done.returncode == 0, done.stdout + done.stderr
    lanes = rows(read(tmp_path), "lanes", "lane")
    assert lanes["tiny"]["verdict"] == "conformant"
    assert lanes["durability"]["verdict"] is None
    assert "give --provider-cmd" in lanes["durability"]["reason"]
    assert "not judged" in done.stdout


def test_without_a_report_directory_the_certificate_is_on_the_terminal(provider: Provider, tmp_path: Path) -> None:
    done = command("--target", provider.address, "--quiet", packages=(TINY,))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "certificate  CONFORMANT" in done.stdout
    assert "lane 1 of" not in done.stdout


def test_a_target_that_cannot_be_reached_is_inconclusive_in_each_lane(tmp_path: Path) -> None:
    options = ("--target", "127.0.0.1:1", "--connect-timeout", "200ms", "--report-dir", str(tmp_path))
    done = command(*options, packages=TINY_AND_DURABILITY)
    assert done.returncode == 3, done.stdout + done.stderr
    assert {row["verdict"] for row in read(tmp_path)["lanes"]} == {"inconclusive"}


def test_a_provider_that_does_not_start_ends_all_lanes(tmp_path: Path) -> None:
    dead = f"{sys.executable} -c \"raise SystemExit('no disk')\""
    done = command("--provider-cmd", dead, "--report-dir", str(tmp_path), packages=TINY_AND_DURABILITY)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no disk" in done.stderr
    later = read(tmp_path)["lanes"][1]
    assert (later["verdict_line"], "no disk" in later["reason"]) == ("not run", True)


def test_ctrl_c_ends_all_lanes_and_the_certificate_tells_what_was_judged(tmp_path: Path) -> None:
    words = [sys.executable, "-u", "-c", script(*TINY_AND_DURABILITY), "run", "--no-config", "--lane", "all"]
    words += ["--provider-cmd", DURABLE, "--report-dir", str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as kit:
        assert kit.stdout
        for line in kit.stdout:
            if line.startswith("lane 2 of 2"):
                kit.send_signal(signal.SIGINT)
                break
        said, _ = kit.communicate(timeout=TIMEOUT)
    assert kit.returncode == 3, said
    first, second = read(tmp_path)["lanes"]
    assert first["verdict"] == "conformant"
    assert second["verdict"] in (None, "inconclusive")
    assert "interrupted (SIGINT)" in second["reason"]
    assert "certificate  INCONCLUSIVE" in said


def test_a_ledger_with_machines_in_any_lane_is_found_before_the_first_one_runs(tmp_path: Path) -> None:
    (tmp_path / "durability").mkdir()
    old = tmp_path / "durability" / "ledger.ndjson"
    with serving("--latency", "2s") as slow:
        words = [sys.executable, "-c", script(), "run", "--no-config", "--target", slow.address, "--select", "LIF-1a"]
        kit = subprocess.Popen([*words, "--report-dir", str(old.parent)], cwd=ROOT, stdout=subprocess.DEVNULL)
        while not (old.exists() and b"machine-" in old.read_bytes()):
            assert kit.poll() is None
        kit.kill()
        kit.wait()
        done = command("--target", slow.address, "--report-dir", str(tmp_path), packages=TINY_AND_DURABILITY)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "that an earlier run left running" in done.stderr
    assert "lane 1" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--select", "FEN"), "--select does not apply to --lane all"),
        (("--baseline", "report.json"), "--baseline does not apply to --lane all"),
    ],
)
def test_options_about_single_behaviours_do_not_apply(
    arguments: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli_main.main(["run", "--fake", "--no-config", "--lane", "all", *arguments])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_other_front_ends_run_one_lane() -> None:
    with pytest.raises(UsageError, match="--lane all runs several lanes"):
        parse_run(["--fake", "--lane", "all"], alone=True)
