"""Commands in options: split like a shell does, with placeholders, and never given to a shell."""

from __future__ import annotations

import pytest

from conformance.core.command_line import parse_command
from conformance.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("serve --port {port}", ["serve", "--port", "9"]),
        ("serve --state={dir}/a", ["serve", "--state=/a b/c/a"]),
        ("sh -c 'exit 1; rm *'", ["sh", "-c", "exit 1; rm *"]),
        ("serve '{{\"a\": 1}}' $HOME", ["serve", '{"a": 1}', "$HOME"]),
        ("serve {port}{port} ''", ["serve", "99", ""]),
    ],
)
def test_a_command_is_split_before_its_placeholders_are_filled(text: str, words: list[str]) -> None:
    assert parse_command(text, "--x").filled(port="9", dir="/a b/c") == words


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "--x is empty"),
        ("''", "--x is empty"),
        ("serve 'port", "--x: no closing quotation"),
        ("serve {host}", "--x: unknown placeholder {host}"),
        ("serve {}", "--x: unknown placeholder {}"),
        ("serve {0}", "--x: unknown placeholder {0}"),
        ("serve {port!r}", "--x: unknown placeholder {port}"),
        ("serve {port:>9}", "--x: unknown placeholder {port}"),
        ("serve {port.real}", "--x: unknown placeholder {port.real}"),
        ("serve {port", "--x: a brace in '{port' is not part of a placeholder"),
        ("serve }", "--x: a brace in '}' is not part of a placeholder"),
    ],
)
def test_a_malformed_command_is_a_usage_error(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_command(text, "--x")
    assert raised.value.message == problem
    assert raised.value.hint


def test_the_placeholders_of_a_command_are_known() -> None:
    command = parse_command("serve {{port}} {dir}", "--x")
    assert command.uses("dir")
    assert not command.uses("port")


def test_an_option_may_have_placeholders_of_its_own() -> None:
    command = parse_command("repair {machine}", "--repair-cmd", placeholders=("machine",))
    assert command.filled(machine="a b") == ["repair", "a b"]
    with pytest.raises(UsageError, match=r"unknown placeholder \{port\}"):
        parse_command("repair {port}", "--repair-cmd", placeholders=("machine",))
