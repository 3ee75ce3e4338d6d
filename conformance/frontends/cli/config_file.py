"""Finds, reads and checks `conformance.toml`. Precedence (option, environment, file) is left to click."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final

import click

from conformance import lanes
from conformance.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Options = Mapping[str, click.Option]

NAME: Final = "conformance.toml"
PYPROJECT: Final = "pyproject.toml"
TABLE: Final = "[tool.conformance]"

_ROOTS: Final = (".git", ".hg", ".jj")
_HINT: Final = "fix the file, or ignore it with --no-config"

_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a fraction"),
    (str, "a string"),
    (list, "an array"),
    (dict, "a table"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The values in a file by the option's name (`max-machines`), in the form that click gets from the command line.

    Relative paths start at the file's own directory.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int]
    """The line number of each option that was found in the text."""

    def where(self, name: str) -> str:
        """Returns the place of an option in the file: `conformance.toml:3`."""
        return f"{self.path}:{self.lines[name]}" if name in self.lines else str(self.path)


def find(start: Path) -> Path | None:
    """Returns the nearest configuration file in `start` or a parent directory, up to the repository's root.

    Outside a repository only `start` is searched, so that a forgotten file in /tmp has no effect. Raises UsageError if
    a directory has two configuration files, or if a pyproject.toml is malformed.
    """
    above = [start, *start.parents]
    root = next((number for number, each in enumerate(above) if any((each / mark).exists() for mark in _ROOTS)), 0)
    for directory in above[: root + 1]:
        own, project = directory / NAME, directory / PYPROJECT
        configured = project.is_file() and _table(project, _text(project)) is not None
        if own.is_file() and configured:
            raise UsageError(f"two configurations: {own}, and {TABLE} in {project}", hint="remove one of them")
        if own.is_file() or configured:
            return own if own.is_file() else project
    return None


def read(path: Path, options: Options) -> Configuration:
    """Returns the configuration in the file at `path`, whose keys are the names of `options`.

    Raises UsageError for malformed TOML, a key that is not an option, and a value that the option does not accept.
    """
    text = _text(path)
    table = _table(path, text) if path.name == PYPROJECT else _toml(path, text)
    if table is None:
        raise UsageError(f"{path} has no {TABLE}", hint=f"add the table, or write a {NAME}")
    empty = Configuration(path=path, values={}, lines=_lines(path, text, table))
    values = {name: _value(name, value, options, empty) for name, value in table.items()}
    return Configuration(path=path, values=values, lines=empty.lines)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="--config must name a TOML file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", hint=_HINT) from error


def _toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", hint=_HINT) from error
    except RecursionError as error:
        raise UsageError(f"{path} is not valid TOML: it is nested too deeply", hint=_HINT) from error


def _table(project: Path, text: str) -> dict[str, Any] | None:
    """Returns the kit's table of a pyproject.toml; None if the file does not have it."""
    tools = _toml(project, text).get("tool", {})
    table = tools.get("conformance") if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise UsageError(f"{project}: tool.conformance is {_kind(table)}", hint=f"it must be a table: {TABLE}")
    return table


def _lines(path: Path, content: str, table: Mapping[str, Any]) -> dict[str, int]:
    """Searches for the lines of the keys, because tomllib does not report them. A key that is found twice gets none."""
    text, first = content.splitlines(), 0
    if path.name == PYPROJECT:
        header = re.compile(r"\s*\[\s*tool\s*\.\s*conformance\s*\]")
        headers = [number for number, line in enumerate(text) if header.match(line)]
        if len(headers) != 1:
            return {}
        first = headers[0] + 1
    next_headers = [
        number for number, line in enumerate(text) if number >= first and re.match(r"\s*\[[^\[\],]+\]\s*(#|$)", line)
    ]
    found = {}
    for name in table:
        assignment = re.compile(rf"""\s*(["']?){re.escape(name)}\1\s*=""")
        numbers = [n for n in range(first, min([*next_headers, len(text)])) if assignment.match(text[n])]
        if len(numbers) == 1:
            found[name] = numbers[0] + 1
    return found


def _value(name: str, value: Any, options: Options, file: Configuration) -> Any:
    option = options.get(name)
    if option is None:
        near = difflib.get_close_matches(name, options, n=1)
        hint = f"did you mean {near[0]}?" if near else "keys are the long options of `conformance run` without dashes"
        raise UsageError(f"{file.where(name)}: unknown option {name!r}", hint=hint)
    if option.multiple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise _wrong_type(name, value, "an array of strings", file)
        return tuple(_single_value(name, item, option, file) for item in items)
    return _single_value(name, value, option, file)


def _single_value(name: str, value: object, option: click.Option, file: Configuration) -> object:
    """Returns one value as the option expects it. Raises UsageError, which does not repeat the value (click may)."""
    expected: type = bool if option.is_flag else int if isinstance(option.type, click.types.IntParamType) else str
    if type(value) is not expected:
        raise _wrong_type(name, value, dict(_KINDS)[expected], file)
    if isinstance(value, str) and "\0" in value:
        raise UsageError(f"{file.where(name)}: {name} contains a NUL byte", hint=_HINT)
    try:
        option.type.convert(value, option, None)
        _check(name, value)
    except click.BadParameter as error:
        raise UsageError(f"{file.where(name)}: {name}: {error.message.rstrip('.')}", hint=_HINT) from error
    except UsageError as error:
        raise UsageError(f"{file.where(name)}: {name}: {error.message}", hint=error.hint) from error
    return str(file.path.parent / str(value)) if isinstance(option.type, click.Path) else value


def _check(name: str, value: Any) -> None:
    """Checks values that only a run would check otherwise, when their file and line are no longer known."""
    match name:
        case "patience":
            from conformance.core.timeouts import parse_patience

            parse_patience(value)
        case "timeout" | "rpc-timeout" | "connect-timeout" | "start-timeout" | "stop-timeout" | "cmd-timeout":
            from conformance.core.timeouts import parse_duration

            parse_duration(value)
        case "max-answer":
            from conformance.core.sizes import parse_size

            parse_size(value)
        case "target":
            from conformance.rpc.target import parse_address

            parse_address(value.replace("{port}", "1"))
        case _ if name.endswith("-cmd"):
            from conformance.core.command_line import parse_command
            from conformance.frontends.cli.provider_options import placeholders_of

            parse_command(value, f"--{name}", placeholders=placeholders_of(name))
        case "header":
            from conformance.rpc.target import parse_header

            parse_header(value)
        case "fault":
            from conformance.rpc.faults.spec import parse_fault

            parse_fault(value)
        case _ if name in lanes.options():
            lanes.options()[name].parse(value)
        case _:
            pass


def _wrong_type(name: str, value: Any, expected: str, file: Configuration) -> UsageError:
    actual = _kind(value)
    if isinstance(value, list) and expected.startswith("an array"):
        actual = f"an array that contains {_kind(next(item for item in value if not isinstance(item, str)))}"
    return UsageError(f"{file.where(name)}: {name} is {actual}", hint=f"it must be {expected}")


def _kind(value: Any) -> str:
    if isinstance(value, date | datetime | time):
        return "a date or time"
    return next(words for kind, words in _KINDS if isinstance(value, kind))
