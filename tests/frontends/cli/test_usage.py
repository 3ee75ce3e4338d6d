"""Every invalid input is one clear line and a hint on stderr, with exit code 2, before the kit connects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from conformance import lanes
from conformance.core import catalogue
from conformance.core.errors import UsageError
from conformance.fleet.ledger import Ledger
from conformance.frontends import settings
from conformance.frontends.cli import main as cli_main
from conformance.frontends.cli.commands import run as engine_run
from conformance.reporters import json_report
from conformance.results.result import Status
from tests.values import a_report, a_result

BIN = Path(sys.executable).parent
TARGET = ("--target", "127.0.0.1:1")


@pytest.fixture(autouse=True)
def _no_targets_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFORMANCE_TARGET", "BIGFLEET_PROVIDER_TARGET"):
        monkeypatch.delenv(name, raising=False)


class Refusal:
    """The error and the hint of a command that ended with a usage error."""

    def __init__(self, capsys: pytest.CaptureFixture[str], code: object) -> None:
        out, err = capsys.readouterr()
        assert code == 2
        assert out == ""
        lines = err.splitlines()
        assert len(lines) == 2, err
        assert lines[0].startswith("error: ")
        assert lines[1].startswith("  hint: ")
        self.error, self.hint = lines[0].removeprefix("error: "), lines[1].removeprefix("  hint: ")


Refuse: TypeAlias = Callable[..., Refusal]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refuse:
    def run(*arguments: str) -> Refusal:
        with pytest.raises(SystemExit) as ended:
            cli_main.run_main([*arguments])
        return Refusal(capsys, ended.value.code)

    return run


def test_no_target_and_no_fake_names_both(refused: Refuse) -> None:
    refusal = refused()
    assert refusal.error == "no target"
    assert "--target host:port" in refusal.hint
    assert "--fake" in refusal.hint


def test_target_and_fake_exclude_each_other(refused: Refuse) -> None:
    assert refused(*TARGET, "--fake").error == "--target and --fake exclude each other"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("localhost", "target 'localhost' is not an address"),
        ("::1:9000", "target '::1:9000' is not an address"),
        ("http://host:9000", "target 'http://host:9000' is a URL"),
        ("host:0", "target 'host:0' has port 0"),
        ("host:70000", "target 'host:70000' has port 70000"),
        ("unix:", "target 'unix:' does not name a socket"),
    ],
)
def test_a_wrong_address_is_named(refused: Refuse, target: str, error: str) -> None:
    assert refused("--target", target).error == error


@pytest.mark.parametrize("name", ["CONFORMANCE_TARGET", "BIGFLEET_PROVIDER_TARGET"])
def test_the_target_may_come_from_the_environment(refused: Refuse, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "localhost")
    assert refused().error == "target 'localhost' is not an address"


def test_precedence_is_option_own_variable_field_variable(refused: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORMANCE_TARGET", "ours")
    monkeypatch.setenv("BIGFLEET_PROVIDER_TARGET", "theirs")
    assert "'ours'" in refused().error
    assert "'option'" in refused("--target", "option").error


@pytest.mark.parametrize("option", ["--select", "--exclude"])
def test_an_unknown_pattern_gets_a_suggestion(refused: Refuse, option: str) -> None:
    refusal = refused(*TARGET, option, "FEM-1a")
    assert refusal.error == "'FEM-1a' matches no behaviour"
    assert "did you mean FEN-1a" in refusal.hint
    assert refused(*TARGET, option, "XYZ-*").error == "'XYZ-*' matches no behaviour"


def test_an_empty_selection_is_an_error(refused: Refuse) -> None:
    assert refused(*TARGET, "--select", "FEN", "--exclude", "FEN").error == "the selection leaves no behaviour"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--patience", "soon"),
        ("--patience", "create=soon"),
        ("--patience", "reboot=5m"),
        ("--rpc-timeout", "0"),
        ("--connect-timeout", "-1s"),
        ("--timeout", "5 minutes"),
        ("--jobs", "0"),
        ("--jobs", "many"),
        ("--max-machines", "0"),
        ("--max-creates", "-1"),
        ("--examples", "0"),
        ("--seed", "x"),
        ("--fence-scope", "galaxy"),
        ("--require", "teleport"),
        ("--header", "authorization"),
        ("--header", "grpc-x=1"),
        ("--fault", "rain"),
        ("--fault", "delay=soon"),
        ("--fault", "reset=1s", "--fault", "reset=2s"),
        ("--server-name", "provider"),
        ("--tls-cert", "cert.pem"),
        ("--tls-key", "key.pem"),
        ("--tls-ca", "no-such.pem"),
        ("--no-such-option",),
        ("surplus",),
    ],
)
def test_other_usage_errors_are_one_line(refused: Refuse, arguments: tuple[str, ...]) -> None:
    refused(*TARGET, *arguments)


def test_a_headers_value_is_never_repeated(refused: Refuse) -> None:
    refusal = refused(*TARGET, "--header", "authorization=s3cret\n")
    assert "s3cret" not in refusal.error + refusal.hint


# --select failed


def baseline(path: Path, *statuses: Status) -> str:
    entries = catalogue.load().entries
    results = [a_result(status, entry.id, reason="r") for entry, status in zip(entries, statuses, strict=False)]
    path.write_text(json_report.render(a_report(*results)), encoding="utf-8")
    return str(path)


def test_select_failed_requires_a_baseline(refused: Refuse, tmp_path: Path) -> None:
    assert "add --baseline" in refused(*TARGET, "--select", "failed").hint
    missing = refused(*TARGET, "--select", "failed", "--baseline", str(tmp_path / "no.json"))
    assert missing.error.endswith("no.json: No such file or directory")


@pytest.mark.parametrize(
    "content",
    [
        "hello",
        "[]",
        "{}",
        '{"behaviours": [{"id": "FEN-1a"}]}',
        "\udcff",
    ],
)
def test_a_baseline_that_is_not_a_record_is_named(refused: Refuse, tmp_path: Path, content: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    refusal = refused(*TARGET, "--select", "failed", "--baseline", str(path))
    assert "baseline.json is not a run record: " in refusal.error


def test_select_failed_is_an_error_if_the_baseline_has_no_failures(refused: Refuse, tmp_path: Path) -> None:
    path = baseline(tmp_path / "b.json", Status.PASSED, Status.SKIPPED)
    assert refused(*TARGET, "--select", "failed", "--baseline", path).error.startswith("nothing failed in ")


def test_a_baseline_with_an_unknown_behaviour_is_one_line(refused: Refuse, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(json_report.render(a_report(a_result(Status.FAILED, "OLD-7a", reason="r"))), encoding="utf-8")
    assert refused(*TARGET, "--select", "failed", "--baseline", str(path)).error == "'OLD-7a' matches no behaviour"


def test_fail_on_new_requires_a_baseline(refused: Refuse) -> None:
    assert refused(*TARGET, "--fail-on", "new").error == "--fail-on new requires --baseline"


def test_select_failed_adds_to_other_patterns(tmp_path: Path) -> None:
    path = baseline(tmp_path / "b.json", Status.FAILED, Status.PASSED, Status.ERROR, Status.WARNED)
    ids = [entry.id for entry in catalogue.load().entries]
    chosen = engine_run.parse_run([*TARGET, "--select", f"failed,{ids[5]}", "--baseline", path]).select
    assert set(chosen) == {ids[0], ids[2], ids[3], ids[5]}


# --report-dir


def test_a_report_directory_that_cannot_be_created_is_found_before_connecting(refused: Refuse, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    refusal = refused(*TARGET, "--report-dir", str(tmp_path / "file" / "out"))
    assert refusal.error.endswith("out cannot be written: Not a directory")
    assert "file" in refused(*TARGET, "--report-dir", str(tmp_path / "file")).error


def test_a_report_that_is_a_directory_cannot_be_written(refused: Refuse, tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    assert refused(*TARGET, "--report-dir", str(tmp_path)).error.endswith("cannot be written: Is a directory")


def left_behind(directory: Path) -> None:
    (directory / "report.json").write_text("of the run before", encoding="utf-8")
    lines = [
        {"ledger": 1, "run": "cpc-1", "target": "host:1", "at": 0},
        {"intend": "Create", "machine": "m1", "home": "SPECULATIVE", "shard": "s", "epoch": 1, "at": 0},
    ]
    (directory / "ledger.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_a_ledger_that_names_machines_is_swept_first_and_its_report_stays(refused: Refuse, tmp_path: Path) -> None:
    left_behind(tmp_path)
    refusal = refused(*TARGET, "--report-dir", str(tmp_path))
    assert refusal.error.endswith("lists 1 machine that an earlier run left running")
    assert f"conformance sweep {tmp_path / 'ledger.ndjson'}" in refusal.hint
    assert (tmp_path / "report.json").read_text(encoding="utf-8") == "of the run before"


def test_the_directory_of_an_active_run_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text("so far", encoding="utf-8")
    ledger = Ledger(tmp_path / "ledger.ndjson", run="cpc-1", target="host:1")
    try:
        with pytest.raises(UsageError, match="belongs to a run that is still active"):
            settings.check_report_dir(tmp_path)
        assert (tmp_path / "ledger.ndjson").exists()
        assert (tmp_path / "events.ndjson").read_text(encoding="utf-8") == "so far"
    finally:
        ledger.close()


def test_a_directory_of_a_run_that_left_nothing_is_used_again(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.ndjson", run="cpc-1", target="host:1").close()
    settings.check_report_dir(tmp_path)
    assert not (tmp_path / "ledger.ndjson").exists()


# The other commands.


def ended(main: object, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))  # type: ignore[operator]
    code = caught.value.code
    assert isinstance(code, int)
    return (code, *capsys.readouterr())


@pytest.mark.parametrize(
    "arguments",
    [
        ("sweep",),
        ("sweep", "ledger.ndjson"),
        ("sweep", "no-such.ndjson", *TARGET),
        ("sweep", "ledger.ndjson", "--target", "nowhere"),
        ("show",),
        ("show", "FEN-9z"),
        ("list", "--select", "nothing"),
        ("list", "--format", "yaml"),
        ("reconcile",),
    ],
)
def test_the_other_commands_refuse_in_one_line_too(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = ended(cli_main.main, capsys, *arguments)
    assert (code, out) == (2, "")
    assert [line[:7] for line in err.splitlines()] == ["error: ", "  hint:"]


def test_list_has_text_json_and_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    known = lanes.whole_catalogue()
    _, text, _ = ended(cli_main.main, capsys, "list")
    expected = [entry.id for entry in known.entries] + [clause.id for clause in known.unjudged()]
    assert [line.split()[0] for line in text.splitlines()] == expected
    _, raw, _ = ended(cli_main.main, capsys, "list", "--format", "json", "--select", "FEN-1a")
    (only,) = json.loads(raw)
    assert (only["id"], only["clause"], only["level"]) == ("FEN-1a", "FEN-1", "MUST")
    _, table, _ = ended(cli_main.main, capsys, "list", "--format", "markdown", "--select", "FEN-1a")
    assert table.splitlines()[2].startswith("| FEN-1a | MUST | ")


def test_show_explains_a_behaviour_and_how_to_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    entry = catalogue.load()["FEN-1a"]
    code, text, _ = ended(cli_main.main, capsys, "show", "fen-1a")
    assert code == 0
    assert text.startswith(f"FEN-1a  {entry.title}\n")
    assert "--select FEN-1a" in text
    assert "FEN-1 (MUST):" in text


COMMANDS = [
    ("run",),
    ("list",),
    ("show",),
    ("sweep",),
    ("config",),
    ("completion",),
    ("proto",),
    ("proto", "lint"),
    ("proto", "breaking"),
    (),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_teaches_by_an_example(capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    code, text, _ = ended(cli_main.main, capsys, *command, "--help")
    assert code == 0
    examples = [line for line in text.splitlines() if line.startswith(("  conformance", "    conformance"))]
    assert examples, text
    assert "\\b" not in text
    assert "\b" not in text


def test_the_help_of_a_run_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = ended(cli_main.run_main, capsys, "--help")
    assert all(f"    {code}  " in text for code in range(5))


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["list"], ["show", "FEN-1a"]])
def test_commands_without_a_target_import_neither_grpc_nor_pytest_nor_hypothesis(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom conformance.frontends.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "heavy = {'grpc', 'google.protobuf', 'msgspec', 'pytest', '_pytest', 'hypothesis', 'jinja2', 'rich', 'asyncio',"
        " 'fake_provider', 'conformance.suite'}\n"
        "sys.exit(repr(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_installed_commands_refuse_without_a_traceback() -> None:
    env = {k: v for k, v in os.environ.items() if not k.endswith("_TARGET")}
    for command in ([str(BIN / "conformance-run")], [str(BIN / "conformance"), "run"]):
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env, check=False)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.splitlines()[0] == "error: no target"
        assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("option", ["--fault", "--select", "--jobs"])
def test_options_of_the_conformance_lane_are_rejected_in_the_scale_lane(refused: Refuse, option: str) -> None:
    value = {"--fault": "lost-answer", "--select": "FEN", "--jobs": "2"}[option]
    assert refused(*TARGET, "--lane", "scale", option, value).error == f"{option} does not apply to the scale lane"
