from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from conformance.core import buf
from conformance.core.errors import TargetError, TargetLost, UsageError
from conformance.frontends.cli.commands import proto
from conformance.frontends.cli.errors import reporting_errors

CONTRACT = buf.PROTO_DIRECTORY / "bigfleet/v1alpha1/provider.proto"


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """A copy in which Machine.zone has another number."""
    path = tmp_path / "bigfleet/v1alpha1/provider.proto"
    path.parent.mkdir(parents=True)
    path.write_text(CONTRACT.read_text(encoding="utf-8").replace("string zone = 5;", "string zone = 16;"))
    return str(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(proto.proto, arguments)


@pytest.mark.parametrize("command", ["lint", "breaking"])
def test_without_buf_the_command_is_a_usage_error_that_names_the_extra(command: str, tmp_path: Path) -> None:
    # Neither in PATH nor beside Python, where the package installs it.
    code = (
        f"import sys; sys.executable = {str(tmp_path / 'python')!r}\n"
        f"from conformance.frontends.cli.main import main; main(['proto', {command!r}])"
    )
    env = os.environ | {"PATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=30, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == ("error: buf is not installed\n  hint: pip install 'capacity-provider-conformance[proto]'\n")


def test_the_descriptor_set_needs_no_buf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("descriptors", "-o", str(tmp_path / "set.binpb")).exit_code == 0


def test_a_quiet_success_prints_one_line() -> None:
    lint, breaking = run("lint"), run("breaking")
    assert (lint.exit_code, lint.stdout) == (0, "proto: no lint findings\n")
    assert (breaking.exit_code, breaking.stdout) == (
        0,
        "proto: no breaking change against the released contract (FILE, WIRE_JSON)\n",
    )


def test_the_line_of_success_names_the_baseline_that_was_given() -> None:
    result = run("breaking", "--against", str(buf.RELEASED))
    assert f"against {buf.RELEASED} (" in result.stdout


def test_a_changed_field_number_is_named_with_its_rule(broken: str) -> None:
    result = run("breaking", "--proto", broken)
    assert result.exit_code == 1
    assert f"{broken}/bigfleet/v1alpha1/provider.proto:" in result.stdout
    assert '"zone" on message "Machine" was deleted. (FIELD_NO_DELETE)\n' in result.stdout
    assert result.stderr == ""


def test_lint_findings_are_exit_1(broken: str) -> None:
    path = Path(broken) / "bigfleet/v1alpha1/provider.proto"
    path.write_text(path.read_text().replace("string zone", "string Zone"))
    result = run("lint", "--proto", broken)
    assert (result.exit_code, result.stdout.count("(FIELD_LOWER_SNAKE_CASE)")) == (1, 1)


def test_json_is_one_object_a_line(broken: str) -> None:
    result = run("breaking", "--proto", broken, "--format", "json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert "FIELD_NO_DELETE" in {entry["rule"] for entry in found}
    assert all(entry["message"] and entry["path"] and entry["line"] > 1 for entry in found)


def test_github_annotations_carry_place_and_rule(broken: str) -> None:
    lines = run("breaking", "--proto", broken, "--format", "github-actions").stdout.splitlines()
    assert lines
    assert all(line.startswith("::error file=") for line in lines)
    assert any(",title=FIELD_NO_DELETE::" in line for line in lines)


def test_github_annotations_are_escaped() -> None:
    finding = buf.Finding(rule="R", message="100%\n::x", path="a,b:c", line=1, column=2, end_line=3, end_column=4)
    assert proto.github_actions(buf.Findings(checked=Path(), found=(finding,))) == (
        "::error file=a%2Cb%3Ac,line=1,col=2,endLine=3,endColumn=4,title=R::100%25%0A::x\n"
    )


def test_junit_has_a_case_for_each_finding(broken: str) -> None:
    suite = ElementTree.fromstring(run("breaking", "--proto", broken, "--format", "junit").stdout)[0]
    cases = suite.findall("testcase")
    assert suite.get("failures") == suite.get("tests") == str(len(cases))
    assert len({case.get("name") for case in cases}) == len(cases)
    assert "FIELD_NO_DELETE" in {failure.get("type") for failure in suite.iter("failure")}


def test_a_finding_without_a_place_is_in_every_format() -> None:
    finding = buf.Finding(rule="FILE_NO_DELETE", message="gone", path=None, line=1, column=1, end_line=1, end_column=1)
    findings = buf.Findings(checked=Path("proto"), found=(finding, finding))
    assert proto.text(findings) == "gone (FILE_NO_DELETE)\n" * 2
    assert proto.github_actions(findings) == "::error title=FILE_NO_DELETE::gone\n" * 2
    names = [case.get("name") for case in ElementTree.fromstring(proto.junit(findings)).iter("testcase")]
    assert names == ["FILE_NO_DELETE:1:1", "FILE_NO_DELETE:1:1 #2"]


def test_nothing_found_leaves_stdout_to_the_format() -> None:
    for name in ("json", "github-actions"):
        result = run("lint", "--format", name)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "proto: no lint findings\n")
    suite = ElementTree.fromstring(run("lint", "--format", "junit").stdout)[0]
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")


@pytest.mark.parametrize(
    "arguments",
    [
        ("breaking", "--against", "not-there"),
        ("breaking", "--against", ""),
        ("breaking", "--proto", "not-there"),
        ("lint", "--proto", "not-there"),
    ],
)
def test_an_impossible_check_is_exit_2_with_one_line_and_a_hint(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    error, hint = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert error.startswith("error: ")
    assert hint.startswith("  hint: ")


@pytest.mark.parametrize("arguments", [("lint", "--format", "msvs"), ("lint", "--timeout", "0")])
def test_a_wrong_option_is_exit_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_too_little_time_is_exit_2() -> None:
    result = run("breaking", "--timeout", "0.000001")
    assert result.exit_code == 2
    assert "within 1e-06 s" in result.stderr


def test_help_teaches_by_example() -> None:
    assert "conformance proto breaking --against .git#branch=main\n" in run("breaking", "--help").stdout
    assert "conformance proto lint --proto third_party/proto\n" in run("lint", "--help").stdout
    assert "Exit codes:\n    0  no findings\n" in run("--help").stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("no", hint="so"), 2), (TargetError("no", hint="so"), 3), (TargetLost("no"), 3)],
)
def test_an_error_decides_the_exit_code(
    error: UsageError | TargetError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, reporting_errors():
        raise error
    assert caught.value.code == code
    assert capsys.readouterr().err == ("error: no\n  hint: so\n" if error.hint else "error: no\n")


def test_other_exceptions_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), reporting_errors():
        raise ZeroDivisionError


def test_a_closed_pipe_prints_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = "from conformance.frontends.cli.errors import reporting_errors\nwith reporting_errors(): print('x')"
    result = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")
