"""`conformance proto`: is a copy of the contract well formed, and does it still fit what was built on it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from xml.etree import ElementTree

import click

from conformance.core import buf
from conformance.core.errors import UsageError
from conformance.frontends.cli.errors import reporting_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.core.buf import Finding, Findings

FOUND = 1
"""The exit code where something was found."""


def text(findings: Findings) -> str:
    """Return one line for each finding: where, what, and in brackets the rule."""
    return "".join(
        f"{f'{it.path}:{it.line}:{it.column}: ' if it.path else ''}{it.message} ({it.rule})\n" for it in findings.found
    )


def json_lines(findings: Findings) -> str:
    """Return one JSON object a line for each finding."""
    return "".join(f"{json.dumps(asdict(it), ensure_ascii=False)}\n" for it in findings.found)


def github_actions(findings: Findings) -> str:
    """Return workflow commands, which show each finding at its line of a pull request."""
    return "".join(f"::error {_place(it)}title={it.rule}::{_escaped(it.message)}\n" for it in findings.found)


def junit(findings: Findings) -> str:
    """Return a JUnit document: a failed case for each finding, or one that passed."""
    suite = ElementTree.Element(
        "testsuite",
        name=f"proto {findings.checked}",
        tests=str(len(findings.found) or 1),
        failures=str(len(findings.found)),
        errors="0",
    )
    if not findings.found:
        ElementTree.SubElement(suite, "testcase", classname="proto", name="nothing found")
    seen: Counter[str] = Counter()
    for it in findings.found:
        # Readers fold cases of one name, so each gets its own.
        name = f"{it.rule}:{it.line}:{it.column}"
        seen[name] += 1
        name += f" #{seen[name]}" if seen[name] > 1 else ""
        case = ElementTree.SubElement(suite, "testcase", classname=it.path or "proto", name=name)
        ElementTree.SubElement(case, "failure", type=it.rule, message=it.message)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    document: str = ElementTree.tostring(suites, encoding="unicode", xml_declaration=True)
    return f"{document}\n"


FORMATS: dict[str, Callable[[Findings], str]] = {
    "text": text,
    "json": json_lines,
    "github-actions": github_actions,
    "junit": junit,
}


def _place(it: Finding) -> str:
    if it.path is None:
        return ""
    path = _escaped(it.path).replace(":", "%3A").replace(",", "%2C")
    return f"file={path},line={it.line},col={it.column},endLine={it.end_line},endColumn={it.end_column},"


def _escaped(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


_directory = click.option(
    "--proto",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The directory that bigfleet/v1alpha1/ lies in. [default: this kit's own]",
)
_format = click.option(
    "--format",
    "format_",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="How findings are printed: for people, as JSON lines, as GitHub annotations, as a JUnit document.",
)
_timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=buf.TIMEOUT_S,
    show_default=True,
    help="How long buf may take in all.",
)


@click.group("proto")
def proto() -> None:
    """Check the contract's proto, or your own copy of it.

    Providers are built on a copy of the contract, and copies drift. `lint` says whether one is well formed;
    `breaking` says whether what was built on the released contract still understands it.

    \b
    Examples:
      conformance proto lint
      conformance proto breaking --proto third_party/proto

    Exit codes: 0 nothing found, 1 something found, 2 cannot tell.
    """  # noqa: D301 - click reads the \b as a character


@proto.command("lint")
@_directory
@_format
@_timeout
@reporting_errors()
def lint_command(directory: Path | None, format_: str, timeout: float) -> None:
    """Check names, numbers, layout and comments by the project's lint rules.

    \b
    Examples:
      conformance proto lint
      conformance proto lint --proto third_party/proto
      conformance proto lint --format github-actions
    """  # noqa: D301 - click reads the \b as a character
    _end(buf.lint(directory, timeout=timeout), format_, "proto: no lint findings")


@proto.command("breaking")
@_directory
@click.option(
    "--against",
    metavar="REF|FILE|DIR",
    help="A descriptor set, a directory, or a git reference. [default: the released contract]",
)
@_format
@_timeout
@reporting_errors()
def breaking_command(directory: Path | None, against: str | None, format_: str, timeout: float) -> None:
    """Check that everyone who was built on the baseline still understands this proto.

    Adding fields is safe. Moving a number, renaming a field, taking anything away, or using a reserved number
    is not: generated code stops compiling (FILE), or bytes and JSON change their meaning (WIRE_JSON).

    \b
    Examples:
      conformance proto breaking
      conformance proto breaking --proto third_party/proto
      conformance proto breaking --against .git#branch=main
      conformance proto breaking --against .git#tag=v0.1.0,subdir=proto
      conformance proto breaking --against old.binpb --format junit
    """  # noqa: D301 - click reads the \b as a character
    findings = buf.breaking(directory, against=against, timeout=timeout)
    baseline = "the released contract" if against is None else against
    _end(findings, format_, f"proto: no breaking change against {baseline} ({', '.join(buf.CATEGORIES)})")


@proto.command("descriptors")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it here. [default: standard output]",
)
@reporting_errors()
def descriptors_command(output: Path | None) -> None:
    """Hand out the contract as a descriptor set, for grpcurl and its like: no reflection is needed then.

    \b
    Examples:
      conformance proto descriptors -o bigfleet.binpb
      grpcurl -plaintext -protoset bigfleet.binpb 127.0.0.1:9000 bigfleet.v1alpha1.CapacityProvider/List
    """  # noqa: D301 - click reads the \b as a character
    from conformance.results.grpcurl import PROTOSET, descriptors

    if output is None:
        if sys.stdout.isatty():
            raise UsageError("a descriptor set is nothing for a terminal", hint=f"write it to a file: -o {PROTOSET}")
        sys.stdout.buffer.write(descriptors())
        return
    try:
        output.write_bytes(descriptors())
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", hint="give a file that can") from error


def _end(findings: Findings, format_: str, nothing: str) -> NoReturn:
    click.echo(FORMATS[format_](findings), nl=False)
    if findings.found:
        raise SystemExit(FOUND)
    # What is read by machines stays theirs alone.
    click.echo(nothing, err=format_ != "text")
    raise SystemExit(0)
