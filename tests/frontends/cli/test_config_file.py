"""conformance.toml and [tool.conformance]: how they are found and checked, and the precedence of their values."""

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
    """An empty repository; the current directory is two levels below its root."""
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


# Search for the file.


def test_the_nearest_file_up_to_the_repository_root_is_read(repository: Path) -> None:
    here = Path.cwd()
    assert config_file.find(here) is None
    top = write(repository / "conformance.toml", "jobs = 1")
    assert config_file.find(here) == top
    nearer = write(repository / "a" / "pyproject.toml", "[tool.conformance]", "jobs = 2")
    assert config_file.find(here) == nearer


def test_files_above_the_repository_are_ignored(repository: Path, tmp_path: Path) -> None:
    write(tmp_path / "conformance.toml", "jobs = 1")
    assert config_file.find(Path.cwd()) is None
    outside = tmp_path / "outside"
    outside.mkdir()
    assert config_file.find(outside) is None
    assert config_file.find(tmp_path) == tmp_path / "conformance.toml"


def test_a_pyproject_without_our_table_is_ignored(repository: Path) -> None:
    write(Path("pyproject.toml"), "[tool.ruff]", "line-length = 120")
    top = write(repository / "conformance.toml", "jobs = 1")
    assert config_file.find(Path.cwd()) == top


def test_two_files_in_one_directory_are_an_error(repository: Path) -> None:
    write(Path("pyproject.toml"), "[tool.conformance]")
    write(Path("conformance.toml"), "")
    with pytest.raises(
        UsageError, match=r"two configurations: .*conformance.toml, and \[tool.conformance\] in .*pyproject.toml"
    ):
        config_file.find(Path.cwd())


# Values.


def test_every_option_of_a_run_is_a_key_of_the_file(tmp_path: Path) -> None:
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


def test_a_line_is_named_only_if_it_is_unambiguous(tmp_path: Path) -> None:
    lines = ["[tool.other]", "jobs = 9", "[tool.conformance]", 'select = [\n  "FEN-*",\n]', "jobs = 2", "[x]", "jobs=1"]
    project = read(tmp_path / "pyproject.toml", *lines)
    assert project.values == {"select": ("FEN-*",), "jobs": 2}
    assert project.lines == {"select": 4, "jobs": 7}
    odd = read(tmp_path / "conformance.toml", 'server-name = """', "jobs = 5", '"""', "jobs = 2")
    assert odd.where("jobs") == str(tmp_path / "conformance.toml")


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("max_machines = 4", "unknown option 'max_machines'", "did you mean max-machines?"),
        ("jbos = 4", "unknown option 'jbos'", "did you mean jobs?"),
        ("xyzzy = 4", "unknown option 'xyzzy'", "keys are the long options"),
        ("config = 'a'", "unknown option 'config'", ""),
        ('jobs = "4"', "jobs is a string", "it must be a whole number"),
        ("jobs = true", "jobs is true or false", "it must be a whole number"),
        ("jobs = 1.5", "jobs is a fraction", "it must be a whole number"),
        ("jobs = 0", "jobs: 0 is not in the range x>=1", ""),
        ("strict = 1", "strict is a whole number", "it must be true or false"),
        ("timeout = 30", "timeout is a whole number", "it must be a string"),
        ("timeout = 2026-01-01", "timeout is a date or time", "it must be a string"),
        ('timeout = "soon"', "timeout: 'soon' is not a duration", "write 90s"),
        ('patience = "reboot=5m"', "patience: 'reboot=5m' is not a valid patience", "write 5m"),
        ('target = "localhost"', "target: target 'localhost' is not an address", "write host:port"),
        ('fence-scope = "galaxy"', "fence-scope: 'galaxy' is not one of 'shard', 'shard-machine'", ""),
        ("select = [1]", "select is an array that contains a whole number", "it must be an array of strings"),
        ("select = 1", "select is a whole number", "it must be an array of strings"),
        ("header = {a = 's3cret'}", "header is a table", "it must be an array of strings"),
        ('fault = "rain"', "fault: unknown fault 'rain'", "write lost-answer, delay=20ms"),
        ("header = ['s3cret']", "header: a --header is not key=value", "write --header"),
    ],
)
def test_an_invalid_value_names_key_and_line(tmp_path: Path, line: str, error: str, hint: str) -> None:
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
def test_invalid_toml_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "conformance.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        config_file.read(path, configurable())
    assert caught.value.message.startswith(f"{path} is n")
    assert "\n" not in caught.value.message


def test_a_missing_file_or_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.toml cannot be read: No such file"):
        config_file.read(tmp_path / "no.toml", configurable())
    assert "has no [tool.conformance]" in refusal(tmp_path / "pyproject.toml", "[tool.ruff]").message
    assert refusal(tmp_path / "pyproject.toml", "[tool]", "conformance = 1").message.endswith("is a whole number")


# Precedence.


def test_precedence_is_option_environment_file(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repository / "conformance.toml", f'target = "{ELSEWHERE}"', "jobs = 1", "examples = 1", "max-machines = 1")
    monkeypatch.setenv("CONFORMANCE_EXAMPLES", "2")
    monkeypatch.setenv("CONFORMANCE_MAX_MACHINES", "2")
    settings = run.parse_run(["--max-machines", "3"])
    assert settings.target is not None
    assert settings.target.address == ELSEWHERE
    options = settings.options
    assert (options.limits.jobs, options.examples, options.limits.max_machines) == (1, 2, 3)
    assert settings.config == repository / "conformance.toml"


def test_an_option_can_negate_a_flag_of_the_file(repository: Path) -> None:
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
def test_target_or_fake_is_chosen_by_precedence(
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


def test_target_and_fake_in_one_file_exclude_each_other(repository: Path) -> None:
    write(repository / "conformance.toml", "fake = true", f'target = "{ELSEWHERE}"')
    with pytest.raises(UsageError, match="--target and --fake exclude each other"):
        run.parse_run([])


def test_a_file_can_be_named_and_files_can_be_ignored(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repository / "conformance.toml", "fake = true", "jobs = 1")
    other = write(repository / "nightly.toml", "fake = true", "jobs = 2")
    assert run.parse_run(["--config", str(other)]).options.limits.jobs == 2
    assert run.parse_run(["--fake", "--no-config"]).options.limits.jobs is None
    monkeypatch.setenv("CONFORMANCE_CONFIG", str(other))
    assert run.parse_run([]).options.limits.jobs == 2
    assert run.parse_run(["--fake", "--no-config"]).options.limits.jobs is None
    for both in (["--config", str(other), "--no-config"], ["--no-config", "--config", str(other)]):
        with pytest.raises(UsageError, match="--config and --no-config exclude each other"):
            run.parse_run(both)


def test_headers_come_from_the_environment_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORMANCE_HEADER", "authorization=Bearer s3cret\nx-tenant=me")
    target = run.parse_run(["--target", ELSEWHERE, "--no-config"]).target
    assert target is not None
    assert target.headers == (("authorization", "Bearer s3cret"), ("x-tenant", "me"))


# `conformance config`


def config(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main.main(["config", *arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == code, err
    return out or err


def test_config_shows_effective_options_and_their_sources(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(repository / "conformance.toml", 'select = ["FEN"]', "jobs = 1", "strict = true")
    monkeypatch.setenv("BIGFLEET_PROVIDER_TARGET", ELSEWHERE)
    monkeypatch.setenv("CONFORMANCE_EXAMPLES", "2")
    values = json.loads(config(capsys, "--format", "json", "--jobs", "4"))
    assert set(values) == set(configurable())
    assert values["target"] == {"value": ELSEWHERE, "from": "environment BIGFLEET_PROVIDER_TARGET"}
    assert values["examples"] == {"value": 2, "from": "environment CONFORMANCE_EXAMPLES"}
    assert values["jobs"] == {"value": 4, "from": "command line"}
    assert values["select"] == {"value": ["FEN"], "from": f"{file}:1"}
    assert values["patience"] == {"value": "5m", "from": "default"}
    lines = {line.split()[0]: line.split()[1:] for line in config(capsys).splitlines()}
    assert lines["strict"] == ["true", f"{file}:3"]
    assert lines["exclude"] == ["-", "default"]


def test_config_shows_no_secret(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(repository / "conformance.toml", 'header = ["authorization=Bearer s3cret"]')
    for form in ("text", "json"):
        text = config(capsys, "--format", form, "--tls-key", "/secret/place.pem", "--header", "x=s3cret")
        assert "s3cret" not in text
        assert "place" not in text
        assert "x=…" in text
        assert "set" in text
    assert "authorization=…" in config(capsys)
    assert "s3cret" not in config(capsys, "--header", "s3cret")


def test_config_escapes_control_characters(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(repository / "conformance.toml", r'select = ["\u001b[31mFEN"]', r'server-name = "\u001b[2J"')
    assert "\x1b" not in config(capsys)


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


def test_help_works_with_an_invalid_file(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(repository / "conformance.toml", "jbos = 1")
    assert "conformance config" in config(capsys, "--help")
