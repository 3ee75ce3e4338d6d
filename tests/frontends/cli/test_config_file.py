"""conformance.toml and [tool.conformance]: found where they count, checked, and never stronger than what is typed."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from conformance.core.errors import UsageError
from conformance.frontends.cli import config_file, main
from conformance.frontends.cli.commands import run
from conformance.frontends.cli.options import configurable

ELSEWHERE = "127.0.0.1:7"


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CONFORMANCE_") or name == "BIGFLEET_PROVIDER_TARGET":
            monkeypatch.delenv(name)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, with the current directory deep in it."""
    deep = tmp_path / "repository" / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    monkeypatch.chdir(deep)
    return tmp_path / "repository"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path, *lines: str) -> config_file.Configuration:
    return config_file.read(write(path, *lines), configurable())


def refusal(path: Path, *lines: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(path, *lines)
    assert caught.value.hint
    return caught.value


# Where it is found.


def test_the_nearest_file_counts_as_far_up_as_the_repository_goes(repository: Path) -> None:
    here = Path.cwd()
    assert config_file.find(here) is None
    top = write(repository / "conformance.toml", "jobs = 1")
    assert config_file.find(here) == top
    nearer = write(repository / "a" / "pyproject.toml", "[tool.conformance]", "jobs = 2")
    assert config_file.find(here) == nearer


def test_what_lies_above_the_repository_or_outside_of_one_is_nobodys_wish(repository: Path, tmp_path: Path) -> None:
    write(tmp_path / "conformance.toml", "jobs = 1")
    assert config_file.find(Path.cwd()) is None
    outside = tmp_path / "outside"
    outside.mkdir()
    assert config_file.find(outside) is None
    assert config_file.find(tmp_path) == tmp_path / "conformance.toml"


def test_a_pyproject_of_other_tools_is_passed_by(repository: Path) -> None:
    write(Path("pyproject.toml"), "[tool.ruff]", "line-length = 120")
    top = write(repository / "conformance.toml", "jobs = 1")
    assert config_file.find(Path.cwd()) == top


def test_two_files_side_by_side_are_one_too_many(repository: Path) -> None:
    write(Path("pyproject.toml"), "[tool.conformance]")
    write(Path("conformance.toml"), "")
    with pytest.raises(UsageError, match=r"both .*conformance.toml and \[tool.conformance\] in .*pyproject.toml"):
        config_file.find(Path.cwd())


# What it says.


def test_every_option_of_a_run_can_stand_in_it_by_its_own_name(tmp_path: Path) -> None:
    assert {"target", "header", "tls-ca", "max-machines", "report-dir", "select", "use-idle"} <= set(configurable())
    assert not {"config", "no-config", "help"} & set(configurable())


def test_values_are_what_the_options_would_make_of_them(tmp_path: Path) -> None:
    file = read(
        tmp_path / "conformance.toml",
        'select = ["FEN-*", "LIF"]',
        'require = "delete,revisions"',
        "strict = true",
        "max-machines = 4",
        'report-dir = "out"',
    )
    assert file.values == {
        "select": ("FEN-*", "LIF"),
        "require": ("delete,revisions",),
        "strict": True,
        "max-machines": 4,
        "report-dir": str(tmp_path / "out"),
    }
    assert file.where("max-machines") == f"{tmp_path / 'conformance.toml'}:4"


def test_a_line_is_named_only_where_it_is_beyond_doubt(tmp_path: Path) -> None:
    lines = ["[tool.other]", "jobs = 9", "[tool.conformance]", 'select = [\n  "FEN-*",\n]', "jobs = 2", "[x]", "jobs=1"]
    project = read(tmp_path / "pyproject.toml", *lines)
    assert project.values == {"select": ("FEN-*",), "jobs": 2}
    assert project.lines == {"select": 4, "jobs": 7}
    odd = read(tmp_path / "conformance.toml", 'server-name = """', "jobs = 5", '"""', "jobs = 2")
    assert odd.where("jobs") == str(tmp_path / "conformance.toml")


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("max_machines = 4", "no option is called 'max_machines'", "did you mean max-machines?"),
        ("jbos = 4", "no option is called 'jbos'", "did you mean jobs?"),
        ("xyzzy = 4", "no option is called 'xyzzy'", "keys are the options"),
        ("config = 'a'", "no option is called 'config'", ""),
        ('jobs = "4"', "jobs is a string", "it must be a whole number"),
        ("jobs = true", "jobs is true or false", "it must be a whole number"),
        ("jobs = 1.5", "jobs is a fraction", "it must be a whole number"),
        ("jobs = 0", "jobs: 0 is not in the range x>=1", ""),
        ("strict = 1", "strict is a whole number", "it must be true or false"),
        ("timeout = 30", "timeout is a whole number", "it must be a string"),
        ("timeout = 2026-01-01", "timeout is a date or time", "it must be a string"),
        ('timeout = "soon"', "timeout: 'soon' is not a duration", "write 90s"),
        ('patience = "reboot=5m"', "patience: 'reboot=5m' is no patience", "write 5m"),
        ('target = "nowhere"', "target: target 'nowhere' is not an address", "write host:port"),
        ('fence-scope = "galaxy"', "fence-scope: 'galaxy' is not one of 'shard', 'shard-machine'", ""),
        ("select = [1]", "select is an array with a whole number in it", "it must be an array of strings"),
        ("select = 1", "select is a whole number", "it must be an array of strings"),
        ("header = {a = 's3cret'}", "header is a table", "it must be an array of strings"),
        ('fault = "rain"', "fault: --fault 'rain' is no fault", "write lost-answer, delay=20ms"),
        ("header = ['s3cret']", "header: a --header is not key=value", "write --header"),
    ],
)
def test_what_no_option_would_take_names_key_and_line(tmp_path: Path, line: str, error: str, hint: str) -> None:
    refused = refusal(tmp_path / "conformance.toml", "# mine", line)
    assert refused.message == f"{tmp_path / 'conformance.toml'}:2: {error}"
    assert refused.hint is not None
    assert hint in refused.hint


def test_the_value_of_a_header_is_in_no_error(tmp_path: Path) -> None:
    for line in ('header = "authorization=s3cret\\n"', 'header = ["a=b", {c = "s3cret"}]', 'header = {a = "s3cret"}'):
        assert "s3cret" not in str(refusal(tmp_path / "conformance.toml", line))


@pytest.mark.parametrize(
    "content", [b"jobs = ", b"\xff\xfe", b"[tool", b"a = 1\na = 2", b"a = " + b"[" * 5000, b"a = " + b"9" * 5000]
)
def test_what_is_no_toml_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "conformance.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        config_file.read(path, configurable())
    assert caught.value.message.startswith(f"{path} is n")
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_there_or_has_nothing_for_us_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.toml cannot be read: No such file"):
        config_file.read(tmp_path / "no.toml", configurable())
    assert "has no [tool.conformance]" in refusal(tmp_path / "pyproject.toml", "[tool.ruff]").message
    assert refusal(tmp_path / "pyproject.toml", "[tool]", "conformance = 1").message.endswith("is a whole number")


# What goes before what.


def test_an_option_goes_before_the_environment_and_that_before_the_file(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repository / "conformance.toml", f'target = "{ELSEWHERE}"', "jobs = 1", "examples = 1", "max-machines = 1")
    monkeypatch.setenv("CONFORMANCE_EXAMPLES", "2")
    monkeypatch.setenv("CONFORMANCE_MAX_MACHINES", "2")
    settings = run.parse_run(["--max-machines", "3"])
    assert settings.target is not None
    assert settings.target.address == ELSEWHERE
    options = settings.options
    assert (options.limits.jobs, options.examples, options.limits.max_machines) == (1, 2, 3)
    assert settings.config == repository / "conformance.toml"


def test_a_flag_of_the_file_can_be_taken_back(repository: Path) -> None:
    write(repository / "conformance.toml", "fake = true", "strict = true", "keep = true")
    assert run.parse_run([]).options.strict
    assert not run.parse_run(["--no-strict"]).options.strict
    assert not run.parse_run(["--no-keep"]).options.keep


def test_a_list_replaces_a_list(repository: Path) -> None:
    write(repository / "conformance.toml", "fake = true", 'select = ["FEN", "LIF"]')
    assert run.parse_run([]).select == ("FEN", "LIF")
    assert run.parse_run(["--select", "OPS"]).select == ("OPS",)


@pytest.mark.parametrize(
    ("file", "variable", "typed", "target"),
    [
        ("fake = true", None, ["--target", ELSEWHERE], ELSEWHERE),
        ("fake = true", ELSEWHERE, [], ELSEWHERE),
        (f'target = "{ELSEWHERE}"', None, ["--fake"], None),
        ("jobs = 1", ELSEWHERE, ["--fake"], None),
    ],
)
def test_of_a_target_and_the_fake_the_one_that_was_asked_for_last_is_meant(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    variable: str | None,
    typed: list[str],
    target: str | None,
) -> None:
    write(repository / "conformance.toml", file)
    if variable:
        monkeypatch.setenv("CONFORMANCE_TARGET", variable)
    settings = run.parse_run(typed)
    assert (settings.target.address if settings.target else None) == target


def test_a_target_and_the_fake_in_one_file_contradict_each_other(repository: Path) -> None:
    write(repository / "conformance.toml", "fake = true", f'target = "{ELSEWHERE}"')
    with pytest.raises(UsageError, match="both a target and --fake"):
        run.parse_run([])


def test_a_file_can_be_named_and_all_can_be_left_out(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repository / "conformance.toml", "fake = true", "jobs = 1")
    other = write(repository / "nightly.toml", "fake = true", "jobs = 2")
    assert run.parse_run(["--config", str(other)]).options.limits.jobs == 2
    assert run.parse_run(["--fake", "--no-config"]).options.limits.jobs is None
    monkeypatch.setenv("CONFORMANCE_CONFIG", str(other))
    assert run.parse_run([]).options.limits.jobs == 2
    assert run.parse_run(["--fake", "--no-config"]).options.limits.jobs is None
    for both in (["--config", str(other), "--no-config"], ["--no-config", "--config", str(other)]):
        with pytest.raises(UsageError, match="both --config and --no-config"):
            run.parse_run(both)


def test_headers_come_from_the_environment_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORMANCE_HEADER", "authorization=Bearer s3cret\nx-tenant=me")
    target = run.parse_run(["--target", ELSEWHERE, "--no-config"]).target
    assert target is not None
    assert target.headers == (("authorization", "Bearer s3cret"), ("x-tenant", "me"))


# `conformance config`


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main.main(["config", *arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == code, err
    return out or err


def test_config_shows_what_holds_and_who_said_so(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(repository / "conformance.toml", 'select = ["FEN"]', "jobs = 1", "strict = true")
    monkeypatch.setenv("BIGFLEET_PROVIDER_TARGET", ELSEWHERE)
    monkeypatch.setenv("CONFORMANCE_EXAMPLES", "2")
    told = json.loads(shown(capsys, "--format", "json", "--jobs", "4"))
    assert set(told) == set(configurable())
    assert told["target"] == {"value": ELSEWHERE, "from": "environment BIGFLEET_PROVIDER_TARGET"}
    assert told["examples"] == {"value": 2, "from": "environment CONFORMANCE_EXAMPLES"}
    assert told["jobs"] == {"value": 4, "from": "command line"}
    assert told["select"] == {"value": ["FEN"], "from": f"{file}:1"}
    assert told["patience"] == {"value": "5m", "from": "default"}
    lines = {line.split()[0]: line.split()[1:] for line in shown(capsys).splitlines()}
    assert lines["strict"] == ["true", f"{file}:3"]
    assert lines["exclude"] == ["-", "default"]


def test_config_shows_no_secret(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(repository / "conformance.toml", 'header = ["authorization=Bearer s3cret"]')
    for form in ("text", "json"):
        text = shown(capsys, "--format", form, "--tls-key", "/secret/place.pem", "--header", "x=s3cret")
        assert "s3cret" not in text
        assert "place" not in text
        assert "x=…" in text
        assert "set" in text
    assert "authorization=…" in shown(capsys)
    assert "s3cret" not in shown(capsys, "--header", "s3cret")


def test_config_steers_no_terminal(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(repository / "conformance.toml", r'select = ["\u001b[31mFEN"]', r'server-name = "\u001b[2J"')
    assert "\x1b" not in shown(capsys)


def test_a_file_that_can_be_read_only_once_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("jobs = 2",))
    writer.start()
    assert config_file.read(pipe, configurable()).values == {"jobs": 2}
    writer.join(10)


@pytest.mark.parametrize("command", ["run", "sweep", "config"])
def test_a_bad_file_ends_every_command_that_reads_it_in_one_line(
    repository: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    write(repository / "conformance.toml", "jbos = 1")
    with pytest.raises(SystemExit) as ended:
        main.main([command, *(["ledger"] if command == "sweep" else [])])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert [line[:7] for line in err.splitlines()] == ["error: ", "  hint:"]
    assert "jbos" in err


def test_help_is_there_also_beside_a_bad_file(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(repository / "conformance.toml", "jbos = 1")
    assert "conformance config" in shown(capsys, "--help")
