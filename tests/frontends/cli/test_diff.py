"""`conformance diff` and --baseline on real runs: processes, sockets, conformant and broken providers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.provider_process import Done, judge, run, serving, serving_mutant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.provider_process import Provider

BROKEN = "EqualTokenPassesOnDrain"
SOME = ("--select", "FEN-1b,FEN-3a,MET-1a,LST-1a,SHP-1a,COD-2a", "--patience", "5s")


@pytest.fixture(scope="module")
def good() -> Iterator[Provider]:
    with serving("--latency", "20ms") as provider:
        yield provider


@pytest.fixture(scope="module")
def broken() -> Iterator[Provider]:
    with serving_mutant(BROKEN) as provider:
        yield provider


@pytest.fixture(scope="module")
def runs(good: Provider, broken: Provider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories of short runs with own seeds: `a` and `b` of a conformant provider, `c` and `d` of a broken one."""
    base = tmp_path_factory.mktemp("runs")
    for name, provider, code in (("a", good, 0), ("b", good, 0), ("c", broken, 1), ("d", broken, 1)):
        assert judge(provider, *SOME, directory=base / name).code == code
    return base


def diff(runs: Path, a: str, b: str, *options: str) -> Done:
    done = run("conformance", "diff", str(runs / a), str(runs / b), *options)
    assert "Traceback" not in done.text
    return done


@pytest.mark.parametrize(("a", "b"), [("a", "b"), ("b", "a"), ("c", "d"), ("a", "a/events.ndjson")])
def test_two_runs_of_one_provider_do_not_differ(runs: Path, a: str, b: str) -> None:
    done = diff(runs, a, b)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("no differences\n")


def test_a_defect_shows_with_just_its_findings(runs: Path) -> None:
    done = diff(runs, "a", "c", "--format", "json")
    found = json.loads(done.out)
    assert done.code == 1
    assert [(c["id"], c["kind"]) for c in found["changes"] if c["differs"]] == [("FEN-1b", "newly failing")]
    back = json.loads(diff(runs, "c", "a", "--format", "json").out)
    assert [(c["id"], c["kind"]) for c in back["changes"] if c["differs"]] == [("FEN-1b", "newly passing")]


def test_a_difference_reads_side_by_side_and_as_a_table(runs: Path) -> None:
    text = diff(runs, "a", "c").out
    assert "FEN-1b" in text
    assert "A and B differ: newly failing (1)" in text
    table = diff(runs, "a", "c", "--format", "markdown").out
    assert "| | A | B |\n|---|---|---|\n" in table
    assert "| FEN\\-1b | passed | failed: " in table


@pytest.mark.timeout(150)
def test_two_full_runs_with_different_seeds_do_not_differ(good: Provider, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        done = judge(good, "--seed", seed, "--quiet", directory=tmp_path / seed, limit=60)
        assert done.code == 0, done.text
    done = diff(tmp_path, "1", "2", "--format", "json")
    assert [change for change in json.loads(done.out)["changes"] if change["differs"]] == []
    assert done.code == 0


@pytest.mark.parametrize("content", ["", "{}", "no record\n", '{"format": 1}'])
def test_an_invalid_record_is_one_line_and_exit_2(runs: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    for arguments in ((path, runs / "a"), (runs / "a", path), (runs / "a", tmp_path / "no.json")):
        done = run("conformance", "diff", *map(str, arguments))
        assert (done.code, done.out) == (2, "")
        assert [line.partition(":")[0] for line in done.err.splitlines()] == ["error", "  hint"]


def test_a_directory_without_a_record_is_one_line(runs: Path, tmp_path: Path) -> None:
    done = diff(runs, "a", str(tmp_path))
    assert done.code == 2
    assert "events.ndjson" in done.err


# --baseline


def test_new_failures_are_reported_and_fail_the_run(runs: Path, broken: Provider, tmp_path: Path) -> None:
    baseline = str(runs / "a" / "report.json")
    done = judge(broken, *SOME, "--baseline", baseline, "--fail-on", "new", directory=tmp_path)
    assert done.code == 1
    assert f"baseline   {baseline} (" in done.out
    assert "  newly failing\n    FEN-1b" in done.out
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [change["id"] for change in written["comparison"]["changes"] if change["differs"]] == ["FEN-1b"]


def test_an_old_failure_is_reported_and_changes_only_the_exit_code(
    runs: Path, broken: Provider, tmp_path: Path
) -> None:
    baseline = str(runs / "c" / "events.ndjson")
    done = judge(broken, *SOME, "--baseline", baseline, "--fail-on", "new", "--fail-fast", directory=tmp_path)
    assert done.code == 0
    assert done.verdict.startswith("verdict    NON-CONFORMANT: 1 failed, 5 passed")
    assert "FAILED FEN-1b" in done.out
    assert "  still failing\n    FEN-1b" in done.out
    assert "exit       0 (--fail-on new)" in done.out
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written["verdict"] == "non-conformant"
    assert 'failures="1"' in (tmp_path / "junit.xml").read_text(encoding="utf-8")
    without = judge(broken, *SOME, "--baseline", baseline, directory=tmp_path / "any")
    assert without.code == 1


@pytest.mark.timeout(150)
@pytest.mark.parametrize("mutant", ["TheEmptyKeyIsDropped", "OnlyKnownKeys"])
def test_another_seed_is_not_a_new_failure(mutant: str, tmp_path: Path) -> None:
    # The failures quote metadata keys, which each seed draws again, the empty one among them.
    some = ("--select", "MET-1*,MET-4a", "--patience", "5s")
    with serving_mutant(mutant) as provider:
        assert judge(provider, *some, "--seed", "1", directory=tmp_path / "1").code == 1
        baseline = ("--baseline", str(tmp_path / "1" / "report.json"), "--fail-on", "new")
        for seed in ("2", "3"):
            done = judge(provider, *some, *baseline, "--seed", seed, directory=tmp_path / seed)
            assert done.code == 0, done.text
            assert "NON-CONFORMANT" in done.verdict


def test_select_failed_runs_the_failures_and_compares_them(runs: Path, good: Provider, tmp_path: Path) -> None:
    baseline = str(runs / "c" / "report.json")
    done = judge(good, "--select", "failed", "--baseline", baseline, directory=tmp_path)
    assert done.code == 0
    assert "  newly passing\n    FEN-1b" in done.out
    assert "not run   5 behaviours of the baseline (partial run)" in done.out


def test_an_unreachable_target_is_exit_3_with_fail_on_new(runs: Path, tmp_path: Path) -> None:
    dead = ("--target", "127.0.0.1:1", "--connect-timeout", "200ms", "--select", "FEN-1b")
    assert run("conformance-run", *dead, "--report-dir", str(tmp_path)).code == 3
    again = ("--baseline", str(tmp_path / "report.json"), "--fail-on", "new")
    assert run("conformance-run", *dead, *again).code == 3
