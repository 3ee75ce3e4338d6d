"""The profiles through the real command: what a complete run of a provider claims."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema
import pytest

import conformance.reporters
from conformance import lanes
from conformance.frontends.cli import main as cli_main
from conformance.lanes import records
from conformance.results import profiles
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.machine import CapacityType
from tests.runs import served

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(180)

BIN = Path(sys.executable).parent
SCHEMA = json.loads((Path(conformance.reporters.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))


class Done(NamedTuple):
    out: str
    directory: Path
    report: dict[str, Any]

    def claims(self) -> dict[str, str]:
        return {each["name"]: each["reason"] for each in self.report["profiles"] if not each["claimed"]}

    def claimed(self) -> list[str]:
        return [each["name"] for each in self.report["profiles"] if each["claimed"]]


def judged(home: Path, *arguments: str) -> Done:
    """Runs the whole suite, and returns what it printed and wrote."""
    env = {**os.environ, "XDG_STATE_HOME": str(home / "state"), "COLUMNS": "80"}
    command = [
        str(BIN / "conformance-run"),
        *arguments,
        "--no-config",
        "--examples",
        "2",
        "--report-dir",
        "out",
        "--quiet",
    ]
    ran = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=160, check=False)
    assert ran.returncode == 0, ran
    return Done(ran.stdout, home / "out", json.loads((home / "out" / "report.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The run against the embedded fake, which has Delete and SPOT machines."""
    return judged(tmp_path_factory.mktemp("cloud"), "--fake")


@pytest.fixture(scope="module")
def metal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """The run against a provider without Delete, whose machines are BARE_METAL."""
    core = Core(fleet(64, capacity_types=[CapacityType.BARE_METAL]), deletes=False)
    with served(core) as address:
        yield judged(tmp_path_factory.mktemp("metal"), "--target", address)


def test_the_embedded_fake_is_a_cloud_with_spot_machines(cloud: Done) -> None:
    assert cloud.claimed() == ["core", "cloud", "spot"]
    assert cloud.claims() == {
        "bare-metal": "the provider has Delete, so it is cloud",
        "faults": "the faults lane was not run (--lane faults)",
        "durable": "the durability lane was not run (--lane durability)",
        "rollout": "the rollout lane was not run (--lane rollout)",
        "scale": "the scale lane was not run (--lane scale)",
    }
    assert cloud.report["found"]["capacity_types"] == ["BARE_METAL", "ON_DEMAND", "RESERVED", "SPOT"]


def test_a_provider_without_delete_is_bare_metal(metal: Done) -> None:
    assert metal.claimed() == ["core", "bare-metal"]
    assert metal.claims()["cloud"] == "Delete is UNIMPLEMENTED, so it is bare-metal"
    assert metal.claims()["spot"] == "no machine of the inventory is SPOT (BARE_METAL)"


def test_every_format_shows_the_profiles(cloud: Done) -> None:
    lines = cloud.out.splitlines()
    assert "           cloud       claimed" in lines
    assert "           faults      not claimed: the faults lane was not run (--lane faults)" in lines
    start = next(number for number, line in enumerate(lines) if line.startswith("verdict"))
    end = next(number for number, line in enumerate(lines) if line.startswith("bill"))
    assert lines[start + 1].startswith("profiles   core        claimed")
    assert all(len(line) <= 80 for line in lines[start:end])
    assert "coverage   " in lines[end - 2]
    page = (cloud.directory / "report.html").read_text(encoding="utf-8")
    assert (
        '<b>durable</b> <span class="claim">not claimed: the durability lane was not run (--lane durability)</span>'
        in page
    )
    assert "faults      not claimed" in (cloud.directory / "report.md").read_text(encoding="utf-8")
    badge = json.loads((cloud.directory / "badge.json").read_text(encoding="utf-8"))
    assert "(core, cloud, spot)" in badge["message"]
    jsonschema.Draft202012Validator(SCHEMA).validate(cloud.report)
    assert [each["area"] for each in cloud.report["coverage"]["sections"] if not each["judged"]] == [
        *("FLT", "DUR", "SEC", "ROL", "HST")
    ]


@pytest.mark.parametrize("name", ["report.json", "events.ndjson"])
def test_a_record_keeps_its_claims(cloud: Done, name: str) -> None:
    report = records.read(cloud.directory / name)
    assert profiles.claimed(report) == ("core", "cloud", "spot")
    assert report.coverage == lanes.kit_coverage("conformance")


def test_a_record_of_an_older_release_can_still_be_used(
    cloud: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {key: value for key, value in cloud.report.items() if key not in ("profiles", "coverage")}
    old["found"] = {key: value for key, value in old["found"].items() if key != "capacity_types"}
    jsonschema.Draft202012Validator(SCHEMA).validate(old)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(old), encoding="utf-8")
    new = str(cloud.directory / "report.json")
    for arguments in (["render", str(path)], ["diff", str(path), new], ["diff", new, str(path)], ["next", str(path)]):
        with pytest.raises(SystemExit) as caught:
            cli_main.main(arguments)
        assert caught.value.code == 0, (arguments, capsys.readouterr())
    assert "cloud       claimed" in capsys.readouterr().out


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        cli_main.main(["list", *arguments])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_list_marks_what_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    found = {each["id"]: each for each in json.loads(listed(capsys, "--select", "LST-5,FEN-1a", "--format", "json"))}
    assert {name: each["judged"] for name, each in found.items()} == {"FEN-1a": True, "LST-5": False}
    assert found["FEN-1a"].keys() == found["LST-5"].keys()
    assert "LST-5    MAY    reported, never judged: " in listed(capsys, "--select", "LST-5")


@pytest.mark.parametrize(
    "arguments", [["run", "--fake", "--select", "FLT"], ["show", "FLT-1"], ["list", "--select", "FLT,x"]]
)
def test_what_cannot_be_judged_is_a_usage_error(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli_main.main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "conformance list" in error
