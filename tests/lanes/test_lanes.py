"""The protocol of lanes, tested with a third lane: `tests.tiny_lane` is one package, and one line adds it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest

import conformance.reporters
from conformance import lanes
from conformance.core.errors import UsageError
from conformance.lanes import records
from conformance.reporters import sections
from conformance.results import evidence
from conformance.results.lane_figures import Section
from tests.tiny_lane import TinyFigures

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(conformance.reporters.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
ONE_LINE = "from conformance import lanes; lanes.PACKAGES.append('tests.tiny_lane')"


class Done(NamedTuple):
    code: int
    out: str
    err: str


def command(*arguments: str) -> Done:
    """Runs the command line of a kit with the tiny lane."""
    script = f"{ONE_LINE}; from conformance.__main__ import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return Done(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report directory of a run of the tiny lane."""
    directory = tmp_path_factory.mktemp("tiny")
    done = command("run", "--fake", "--no-config", "--lane", "tiny", "--lists", "2", "--report-dir", str(directory))
    assert done.code == 0, done
    (directory / "terminal.txt").write_text(done.out, encoding="utf-8")
    return directory


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PACKAGES", [*lanes.PACKAGES, "tests.tiny_lane"])


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_one_line_adds_a_lane_with_its_options_and_behaviours() -> None:
    shown = command("run", "--help").out
    names = [lane.name for lane in lanes.all_lanes()]
    assert f"--lane[{'|'.join(names)}|tiny|all]" in "".join(shown.split())
    assert "With --lane tiny: the number of Lists." in " ".join(shown.split())
    assert "run it    conformance-run --target host:port --lane tiny" in command("show", "LST-3tiny").out
    assert json.loads(command("config", "--no-config", "--format", "json").out)["lists"]["value"] == "3"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("--lane", "tiny", "--lists", "many"), "'many' is not a number of Lists", "write --lists 3"),
        (("--lane", "tiny", "--soak", "5m"), "--soak does not apply to the tiny lane", "add --lane scale"),
        (("--lane", "tiny", "--select", "FEN"), "--select does not apply to the tiny lane", "remove it"),
        (("--lists", "3"), "--lists does not apply to the conformance lane", "add --lane tiny"),
    ],
)
def test_its_options_are_checked(arguments: tuple[str, ...], error: str, hint: str) -> None:
    done = command("run", "--fake", "--no-config", *arguments)
    assert (done.code, done.err.splitlines()) == (2, [f"error: {error}", f"  hint: {hint}"])


def test_its_options_are_checked_in_a_configuration_file_too(tmp_path: Path) -> None:
    file = tmp_path / "conformance.toml"
    file.write_text('fake = true\nlists = "many"\n', encoding="utf-8")
    done = command("run", "--config", str(file))
    assert done.err.splitlines()[0] == f"error: {file}:2: lists: 'many' is not a number of Lists"


def test_it_is_planned_by_a_dry_run_and_has_no_tests() -> None:
    planned = command("plan", "--no-config", "--fake", "--lane", "tiny").out
    assert "would run  1 behaviour, at most 0 machines at once" in planned
    pytest_with = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--conformance=--fake --lane scale"]
    ran = subprocess.run(pytest_with, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "the scale lane has no tests" in ran.stderr + ran.stdout


def test_every_format_shows_its_figures(directory: Path) -> None:
    lines = ["tiny       2 Lists", "lists      List    machines", "lists      List 1        64"]
    assert set(lines) <= set(text(directory / "terminal.txt").splitlines())
    assert set(lines) <= set(text(directory / "report.md").splitlines())
    page = text(directory / "report.html")
    assert '<section data-run id="tiny"><h2>Tiny <small>a few Lists</small></h2>' in page
    assert "<pre>tiny       2 Lists" in page
    assert '<th scope="col">List</th><th scope="col" class="n">machines</th>' in page
    assert '<td>List 2</td><td class="n">64</td>' in page
    written = json.loads(text(directory / "report.json"))
    assert (written["tiny"], written["scale"]) == ({"machines": [64, 64]}, None)
    jsonschema.validate(written, SCHEMA)
    progress = [line for line in map(json.loads, text(directory / "events.ndjson").splitlines()) if "lists" in line]
    assert [(line["event"], line["lists"]) for line in progress] == [("progressed", 1), ("progressed", 2)]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", ["report.json", "events.ndjson"])
def test_it_reads_its_figures_back(directory: Path, name: str) -> None:
    report = records.read(directory / name)
    assert report.figures == TinyFigures(machines=(64, 64))
    rerun = evidence.rerun(report, report.results[0])
    assert rerun == f"conformance-run --fake --lane tiny --lists 2 --seed {report.seed}"


@pytest.mark.usefixtures("tiny")
def test_malformed_figures_are_named(directory: Path, tmp_path: Path) -> None:
    written = json.loads(text(directory / "report.json"))
    path = tmp_path / "report.json"
    path.write_text(json.dumps(written | {"tiny": {"machines": "many"}}), encoding="utf-8")
    with pytest.raises(UsageError, match="tiny is not what the tiny lane writes"):
        records.read(path)


def test_a_replay_names_the_command_that_repeats_it(directory: Path) -> None:
    done = command("replay", str(directory / "report.json"))
    assert done.code == 2
    assert done.err.splitlines()[0] == (
        f"error: {directory / 'report.json'} is a run of the tiny lane, whose behaviours cannot be judged separately"
    )
    assert "conformance-run --fake --lane tiny --lists 2" in done.err


def test_a_failed_check_is_in_the_headline_the_exit_code_and_junit(tmp_path: Path) -> None:
    done = command("run", "--fake", "--no-config", "--lane", "tiny", "--lists", "6", "--report-dir", str(tmp_path))
    assert done.code == 1
    assert "verdict    CONFORMANT, too many Lists: 1 passed" in done.out
    junit = text(tmp_path / "junit.xml")
    assert '<testcase classname="conformance.lists" name="most">' in junit
    assert '<failure type="lists" message="6, limit 5" />' in junit


# The registry.


def test_every_lane_satisfies_the_registry() -> None:
    known = lanes.all_lanes()
    names = [lane.name for lane in known]
    assert names[:4] == ["conformance", "scale", "faults", "durability"]
    assert lanes.ALL not in names
    assert lanes.default() is known[0]
    assert lanes.lane_of("lst-6SCALE") is known[1]
    assert lanes.lane_of("FEN-1a") is known[0]
    assert lanes.lane_of("FEN-99z") is None
    assert list(lanes.figures_readers()) == ["scale"]
    ids = [entry.id for entry in lanes.entries()]
    assert len(set(ids)) == len(ids)
    with pytest.raises(UsageError, match="unknown lane 'fast'"):
        lanes.named("fast")


def test_help_does_not_import_the_modules_of_a_run() -> None:
    script = "import sys; from conformance.frontends.cli import options; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert not loaded & {"grpc", "pytest", "rich", "conformance.engine.run", "conformance.lanes.scale.run"}


# Sections as text.


def test_a_table_is_aligned_and_follows_its_title() -> None:
    section = Section(title="calls", lines=("all",), columns=("call", "p99"), rows=(("Get", "1 ms"), ("List", "12 ms")))
    assert sections.lines([section]) == [
        "calls      all",
        "calls      call    p99",
        "calls      Get    1 ms",
        "calls      List  12 ms",
    ]
    assert sections.lines([section], tables=False) == ["calls      all"]


# No module outside a lane's package names it.


def test_only_the_registry_names_the_package_of_a_lane() -> None:
    kit = ROOT / "conformance"
    for package in lanes.PACKAGES:
        own = kit.joinpath(*package.split(".")[1:])
        naming = {
            str(path.relative_to(kit))
            for path in kit.rglob("*.py")
            if own not in path.parents and package in path.read_text(encoding="utf-8")
        }
        assert naming == {"lanes/__init__.py"}
