"""Any value of every option of every command is accepted, or is a one-line error."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conformance.frontends.cli import main
from conformance.frontends.cli.commands.run import parse_run
from conformance.frontends.cli.options import configurable
from tests.fuzz.search import LONG, SOME, TEXT, near, refused, typeable

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES = (
    TEXT
    | st.integers(-(2**70), 2**70).map(str)
    | st.floats().map(str)
    | st.sampled_from(["5m", "127.0.0.1:9", "delete", "FEN-1a", "shard", "k=v", "new"]).flatmap(near)
)
ARGUMENTS = VALUES.filter(typeable)
"""Arguments of a process contain no NUL bytes and no unpaired surrogates."""
TARGET = ("--target", "127.0.0.1:9")


def commands(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yields all commands with the words that invoke them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


COMMANDS = dict(commands(main.conformance))
OPTIONS = [
    (words, max(option.opts, key=len))
    for words, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag and (LONG or words == ("run",) or len(words) == 2)
]


def parse(command: click.Command, arguments: list[str]) -> tuple[int | str | None, str, str]:
    """Parses the arguments without running the command; returns exit code, stdout and stderr."""
    parser = click.Command(
        command.name, params=command.params, callback=lambda **given: None, context_settings=command.context_settings
    )
    streams = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        try:
            main._run(parser, arguments, "conformance")
        except SystemExit as end:
            code = end.code
    texts = []
    for stream in streams:
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        texts.append(stream.buffer.getvalue().decode())
    return code, texts[0], texts[1]


def check_output(code: int | str | None, out: str, err: str) -> None:
    """Checks that the arguments were accepted, or refused with one line and a hint."""
    assert code in (0, 2)
    assert out == ""
    if code == 2:
        lines = err.splitlines()
        assert lines[0].startswith("error: ")
        assert lines[0].isprintable(), lines[0]
        assert [line[:8] for line in lines[1:]] == ["  hint: "] * len(lines[1:]), err
        assert len(lines) <= 2
        assert len(err) < 5_000


@pytest.mark.parametrize(("words", "name"), OPTIONS, ids=lambda part: " ".join(part) if type(part) is tuple else part)
def test_any_value_of_an_option_is_accepted_or_a_one_line_error(words: tuple[str, ...], name: str) -> None:
    @SOME
    @example("\udcff\x1b\n")
    @given(ARGUMENTS)
    def search(value: str) -> None:
        check_output(*parse(COMMANDS[words], [f"{name}={value}"]))

    search()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_any_arguments_are_accepted_or_a_one_line_error(words: tuple[str, ...]) -> None:
    flags = sorted({opt for option in COMMANDS[words].params for opt in (*option.opts, *option.secondary_opts)})

    @SOME
    @given(st.lists(ARGUMENTS | st.sampled_from(flags or ["-"]), max_size=5))
    def search(arguments: list[str]) -> None:
        if not {"--help", "-h", "--version"} & set(arguments):
            check_output(*parse(COMMANDS[words], [a for a in arguments if not a.startswith(("-h", "--h"))]))

    search()


@pytest.mark.parametrize("name", sorted(set(configurable()) - {"report-dir"}))
def test_a_run_accepts_any_value_of_an_option_or_raises_a_usage_error(name: str) -> None:
    given_target = () if name in ("target", "fake") else TARGET
    flag = configurable()[name].is_flag

    @SOME
    @given(VALUES)
    def search(value: str) -> None:
        refused(parse_run, [*given_target, f"--{name}" if flag else f"--{name}={value}"], alone=True)

    search()


@pytest.mark.parametrize("name", sorted(configurable()))
def test_any_value_of_an_environment_variable_is_accepted_or_an_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"CONFORMANCE_{name.upper().replace('-', '_')}"

    @SOME
    @given(ARGUMENTS)
    def search(value: str) -> None:
        monkeypatch.setenv(variable, value)
        check_output(*parse(COMMANDS[("run",)], ["--no-config"]))

    search()
