"""Waivers as a user works with them: written by `conformance waive`, read by a run on a real provider."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.provider_process import Done, judge, run, serving, serving_mutant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.provider_process import Provider

BROKEN = "EqualTokenPassesOnDrain"
"""Fails FEN-1b."""
CASCADE = "DrainIsNotFenced"
"""Fails FEN-7, and other behaviours because of that."""
SOME = ("--select", "FEN-1b,FEN-3a,MET-1a", "--patience", "5s")


@pytest.fixture(scope="module")
def good() -> Iterator[Provider]:
    with serving() as provider:
        yield provider


@pytest.fixture(scope="module")
def broken() -> Iterator[Provider]:
    with serving_mutant(BROKEN) as provider:
        yield provider


@pytest.fixture(scope="module")
def failed(broken: Provider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run in which FEN-1b failed."""
    directory = tmp_path_factory.mktemp("failed")
    assert judge(broken, *SOME, directory=directory).code == 1
    return directory / "report.json"


def waive(record: Path, *arguments: str) -> Done:
    done = run("conformance", "waive", "--from", str(record), *arguments)
    assert "Traceback" not in done.text
    return done


@pytest.fixture
def waivers(failed: Path, tmp_path: Path) -> Path:
    """A complete waiver of that failure."""
    path = tmp_path / "waivers.toml"
    assert waive(failed, "--output", str(path)).code == 0
    return fill(path)


def fill(path: Path) -> Path:
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('reason = ""', 'reason = "PROV-1"').replace('owner = ""', 'owner = "us"'), "utf-8")
    return path


def change(path: Path, old: str, new: str) -> Path:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def lines(done: Done) -> list[str]:
    return [line for line in done.out.splitlines() if line.startswith("WAIVER")]


def report(directory: Path) -> Any:
    return json.loads((directory / "report.json").read_text(encoding="utf-8"))


def test_a_waived_failure_is_shown_and_tolerated(broken: Provider, waivers: Path, tmp_path: Path) -> None:
    done = judge(broken, *SOME, "--waivers", str(waivers), "--fail-fast", directory=tmp_path / "out")
    assert (done.code, done.err, lines(done)) == (0, "", [])
    assert done.verdict == "verdict    CONFORMANT, 1 waived: 1 failed and waived, 2 passed, partial run"
    assert f"waivers    {waivers}: 1 holds" in done.out
    assert "FAILED FEN-1b" in done.out
    assert "  waived  until " in done.out
    junit = (tmp_path / "out" / "junit.xml").read_text(encoding="utf-8")
    assert 'failures="0"' in junit
    assert "failed, waived until" in junit
    assert [each["standing"] for each in report(tmp_path / "out")["waivers"]] == ["holds"]


def test_a_stale_waiver_fails_the_run_with_one_line(good: Provider, waivers: Path, tmp_path: Path) -> None:
    done = judge(good, *SOME, "--waivers", str(waivers), directory=tmp_path / "out")
    assert done.code == 1
    assert lines(done) == ["WAIVER     FEN-1b is stale: the behaviour passes; remove the waiver"]
    assert done.verdict.startswith("verdict    CONFORMANT: 3 passed")


def test_a_changed_failure_fails_the_run_with_one_line(broken: Provider, waivers: Path, tmp_path: Path) -> None:
    changed = re.sub('"2:[0-9a-f]{12}"', '"2:0123456789ab"', waivers.read_text(encoding="utf-8"))
    waivers.write_text(changed, encoding="utf-8")
    done = judge(broken, *SOME, "--waivers", str(waivers), directory=tmp_path / "out")
    assert done.code == 1
    (line,) = lines(done)
    assert line.startswith("WAIVER     FEN-1b is changed: the behaviour fails in another way: wanted Drain with token ")
    assert ", not wanted Drain with token " in line
    assert "waived:" not in done.verdict


def test_an_expired_waiver_fails_the_run_with_one_line(broken: Provider, failed: Path, tmp_path: Path) -> None:
    path = tmp_path / "waivers.toml"
    assert waive(failed, "--output", str(path), "--expires", "2020-02-29").code == 0
    done = judge(broken, *SOME, "--waivers", str(fill(path)), directory=tmp_path / "out")
    assert done.code == 1
    (line,) = lines(done)
    assert line.startswith("WAIVER     FEN-1b is expired: the last day was 2020-02-29; fix the failure")


def test_an_unknown_id_fails_the_run_with_one_line(good: Provider, waivers: Path, tmp_path: Path) -> None:
    change(waivers, "FEN-1b", "FEM-1b")
    done = judge(good, *SOME, "--waivers", str(waivers), directory=tmp_path / "out")
    assert done.code == 1
    (line,) = lines(done)
    assert line.startswith("WAIVER     FEM-1b is unknown: no behaviour has this id; did you mean FEN-1b")


def test_a_waiver_of_an_unselected_behaviour_is_ignored(good: Provider, waivers: Path, tmp_path: Path) -> None:
    done = judge(good, "--select", "MET-1a", "--waivers", str(waivers), directory=tmp_path / "out")
    assert (done.code, lines(done)) == (0, [])
    assert f"waivers    {waivers}: 1 not run" in done.out


def test_a_behaviour_that_was_not_judged_is_not_tolerated(waivers: Path, tmp_path: Path) -> None:
    dead = ("--target", "127.0.0.1:1", "--connect-timeout", "200ms", "--report-dir", str(tmp_path / "out"))
    done = run("conformance-run", *dead, *SOME, "--waivers", str(waivers))
    assert done.code == 3
    assert [each["standing"] for each in report(tmp_path / "out")["waivers"]] == ["unseen"]


@pytest.mark.parametrize("key", ["reason", "owner"])
def test_a_waiver_without_reason_or_owner_is_rejected_before_the_run(
    broken: Provider, waivers: Path, tmp_path: Path, key: str
) -> None:
    change(waivers, f'{key} = "{"PROV-1" if key == "reason" else "us"}"', f'{key} = ""')
    done = judge(broken, *SOME, "--waivers", str(waivers), directory=tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[0] == f"error: waivers {waivers}: FEN-1b has no {key}"


def test_the_file_in_the_working_directory_is_read_unless_no_waivers_is_given(
    broken: Provider, waivers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waivers.rename(tmp_path / "conformance-waivers.toml")
    monkeypatch.chdir(tmp_path)
    assert judge(broken, *SOME, directory=tmp_path / "out").code == 0
    declined = judge(broken, *SOME, "--no-waivers", directory=tmp_path / "other")
    assert (declined.code, "waivers  " in declined.out) == (1, False)


def test_pytest_reports_a_waived_failure_as_xfailed(broken: Provider, waivers: Path, tmp_path: Path) -> None:
    options = f"--conformance=--select FEN-1b,MET-1a --waivers {waivers}"
    done = run(
        *(
            "pytest",
            "--pyargs",
            "conformance.suite",
            "--target",
            broken.address,
            options,
            "-rx",
            "-p",
            "no:cacheprovider",
        ),
        f"--rootdir={tmp_path}",
        state=tmp_path,
    )
    assert done.code == 0, done.text
    assert "1 passed" in done.out
    assert "1 xfailed" in done.out
    assert "waived until" in done.out


# conformance waive


def test_an_entry_is_complete_except_for_reason_and_owner(failed: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    done = waive(failed, "FEN-1b", "--output", str(path))
    assert done.out.splitlines() == [
        f"{path}: 1 waiver added",
        "fill in reason and owner: until then a run rejects the file",
    ]
    entry = tomllib.loads(path.read_text(encoding="utf-8"))["waiver"]["FEN-1b"]
    assert (entry["reason"], entry["owner"]) == ("", "")
    assert entry["fingerprint"].startswith("2:")
    assert entry["failure"].startswith("wanted Drain with token … ")
    assert entry["expires"] - datetime.now(UTC).date() >= timedelta(days=29)


def test_a_cascade_needs_one_entry_per_cause_and_then_the_run_exits_0(tmp_path: Path) -> None:
    path, some = tmp_path / "w.toml", ("--select", "FEN-1*,FEN-4*,FEN-7*,FEN-12*", "--patience", "5s")
    with serving_mutant(CASCADE) as provider:
        assert judge(provider, *some, directory=tmp_path / "first").code == 1
        done = waive(tmp_path / "first" / "report.json", "--output", str(path), "--reason", "PROV-7", "--owner", "us")
        again = judge(provider, *some, "--waivers", str(path), directory=tmp_path / "second")
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["waiver"]
    broken = {b["id"]: b for b in report(tmp_path / "first")["behaviours"] if b["status"] in ("failed", "warned")}
    assert entries.keys() == {name for name, behaviour in broken.items() if behaviour["cause"] is None}
    assert {name for entry in entries.values() for name in entry.get("covers", [])} >= broken.keys() - entries.keys()
    assert len(entries) < len(broken)
    assert {(entry["reason"], entry["owner"]) for entry in entries.values()} == {("PROV-7", "us")}
    assert "fill in" not in done.out
    assert (again.code, lines(again)) == (0, [])
    assert "CONFORMANT" in again.verdict


def test_the_command_says_which_of_reason_and_owner_is_missing(failed: Path) -> None:
    done = waive(failed, "--output", "-", "--reason", "PROV-7")
    assert 'reason = "PROV-7"\nowner = ""\n' in done.out


def test_existing_entries_are_kept(failed: Path, waivers: Path) -> None:
    before = waivers.read_text(encoding="utf-8")
    done = waive(failed, "--output", str(waivers))
    assert done.out == f"{waivers}: 0 waivers added, 1 already there\n"
    assert waivers.read_text(encoding="utf-8") == before


def test_a_waiver_of_another_failure_is_not_overwritten(failed: Path, waivers: Path) -> None:
    change(waivers, 'fingerprint = "2:', 'fingerprint = "2:0')
    done = waive(failed, "--output", str(waivers))
    assert done.code == 2
    assert "FEN-1b is waived for another failure" in done.err


def test_a_dash_prints_the_waivers(failed: Path) -> None:
    done = waive(failed, "--output", "-")
    assert list(tomllib.loads(done.out)["waiver"]) == ["FEN-1b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("FEN-3a",), "FEN-3a did not fail in that run: passed"),
        (("FEN-9*",), "'FEN-9*' matches no behaviour"),
        (("--expires", "soon"), "--expires soon: not a date"),
        (("--output", "/no/such/place.toml"), "/no/such/place.toml cannot be written"),
    ],
)
def test_invalid_arguments_are_one_line_and_exit_2(
    failed: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = waive(failed, "--output", str(tmp_path / "w.toml"), *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err.splitlines()[0]
    assert not (tmp_path / "w.toml").exists()


def test_a_run_without_failures_has_nothing_to_waive(good: Provider, tmp_path: Path) -> None:
    assert judge(good, "--select", "MET-1a", directory=tmp_path).code == 0
    done = waive(tmp_path / "report.json")
    assert done.code == 2
    assert "has no failures" in done.err
