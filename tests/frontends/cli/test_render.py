from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conformance.frontends.cli import main
from conformance.reporters import badge, json_report, junit, markdown, terminal
from conformance.reporters.report_dir import FORMATS, LOG, ReportDirectory
from conformance.results import events, reader
from conformance.results.result import Status
from tests.values import a_call, a_report, a_result

if TYPE_CHECKING:
    from pathlib import Path

FAILED = a_result(Status.FAILED, "TST-1a", reason="TST-1: so", wanted="x", got="y", calls=(a_call(),), decisive=(0,))
REPORT = a_report(FAILED, a_result(Status.PASSED, "TST-2a"), notes=("a note",))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A report directory."""
    files = ReportDirectory(tmp_path)
    assert REPORT.found is not None
    started = events.RunStarted(
        run=REPORT.run,
        target=REPORT.target,
        at=REPORT.started,
        seed=REPORT.seed,
        found=REPORT.found,
        behaviours=tuple(result.entry for result in REPORT.results),
        machines=2,
        ledger=REPORT.ledger,
        version=REPORT.version,
    )
    files(started)
    for result in REPORT.results:
        files(events.BehaviourFinished(result=result))
    files(events.Noted(at=1.0, text="a note"))
    files(events.RunFinished(report=REPORT))
    return tmp_path


def render(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main.main(["render", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_a_report_directory_has_a_file_of_each_format(directory: Path) -> None:
    assert {path.name for path in directory.iterdir()} == {LOG, *FORMATS}
    assert {*FORMATS} >= {"report.json", "junit.xml", "report.md", "report.html", "badge.json"}


@pytest.mark.parametrize("source", ["report.json", "events.ndjson"])
def test_an_old_run_is_shown_as_it_was_at_its_end(
    directory: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(directory / source) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (*terminal.heading(REPORT), *terminal.findings(REPORT), *terminal.closing(REPORT)):
        assert line in lines
    assert not any(line.startswith("PASSED") for line in lines)


def test_verbose_shows_every_behaviour_and_every_call(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert render(directory / "report.json", "-v", "--no-color") == 0
    out = capsys.readouterr().out
    assert "PASSED  TST-2a" in out
    assert "        1.000s  Get(m1) -> OK" in out
    assert "note       a note" in out


@pytest.mark.parametrize("source", ["report.json", "events.ndjson"])
def test_each_format_is_written_as_the_run_would_have_written_it(directory: Path, source: str) -> None:
    new = directory / "new"
    new.mkdir()
    options = {
        "html": "report.html",
        "md": "report.md",
        "junit": "junit.xml",
        "badge": "badge.json",
        "json": "report.json",
    }
    assert render(directory / source, *(part for o, n in options.items() for part in (f"--{o}", new / n))) == 0
    for name in options.values():
        assert (new / name).read_bytes() == (directory / name).read_bytes()


@pytest.mark.parametrize(
    ("option", "text"),
    [("md", markdown.render(REPORT)), ("junit", junit.render(REPORT)), ("badge", badge.render(REPORT))],
)
def test_a_dash_is_standard_output(directory: Path, capsys: pytest.CaptureFixture[str], option: str, text: str) -> None:
    assert render(directory / "report.json", f"--{option}", "-") == 0
    assert capsys.readouterr().out == text


def truncated(directory: Path) -> Path:
    path = directory / LOG
    path.write_bytes(path.read_bytes()[:-20])
    return path


def test_a_truncated_run_is_rendered_and_marked_in_every_format(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = truncated(directory)
    assert render(path) == 0
    out = capsys.readouterr().out
    assert "truncated  the log ends before the run does" in out
    assert "clean-up   unknown" in out
    for option in ("md", "json"):
        assert render(path, f"--{option}", "-") == 0
        assert "truncated: the log ends before the run does" in capsys.readouterr().out
    assert render(path, "--json", directory / "cut.json") == 0
    again = reader.read(directory / "cut.json")
    assert again.truncated
    assert json_report.as_dict(again) == json_report.as_dict(reader.read(path))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert render(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["error", "  hint"]
    return lines[0]


def test_invalid_records_and_unwritable_paths_are_one_line(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = directory / "report.json"
    assert "No such file" in refused(capsys, directory / "no.json")
    assert "is not a run record" in refused(capsys, directory / "junit.xml")
    assert "No such file" in refused(capsys, good, "--md", directory / "no" / "x.md")
    assert "would overwrite the record" in refused(capsys, good, "--md", good)
    assert json.loads(good.read_text(encoding="utf-8"))["format"] == 1


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert render("--help") == 0
    out = capsys.readouterr().out
    for option in ("--html", "--md", "--junit", "--badge", "--json", "--verbose", "Exit codes"):
        assert option in out
