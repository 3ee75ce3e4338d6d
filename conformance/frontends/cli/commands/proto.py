"""`conformance proto`: checks a copy of the contract's proto for lint findings and for breaking changes."""

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

EXIT_FINDINGS = 1


def text(findings: Findings) -> str:
    """Returns one line for each finding: place, message, and the rule in brackets."""
    return "".join(f"{_position(finding)}{finding.message} ({finding.rule})\n" for finding in findings.found)


def json_lines(findings: Findings) -> str:
    """Returns one JSON object per line and finding."""
    return "".join(f"{json.dumps(asdict(finding), ensure_ascii=False)}\n" for finding in findings.found)


def github_actions(findings: Findings) -> str:
    """Returns workflow commands, which show each finding at its line of a pull request."""
    return "".join(
        f"::error {_annotation(finding)}title={finding.rule}::{_escaped(finding.message)}\n"
        for finding in findings.found
    )


def junit(findings: Findings) -> str:
    """Returns a JUnit document: a failed case for each finding, or a single case that passed."""
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
    for finding in findings.found:
        # JUnit readers merge cases of the same name.
        name = f"{finding.rule}:{finding.line}:{finding.column}"
        seen[name] += 1
        name += f" #{seen[name]}" if seen[name] > 1 else ""
        case = ElementTree.SubElement(suite, "testcase", classname=finding.path or "proto", name=name)
        ElementTree.SubElement(case, "failure", type=finding.rule, message=finding.message)
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


def _position(finding: Finding) -> str:
    return f"{finding.path}:{finding.line}:{finding.column}: " if finding.path else ""


def _annotation(finding: Finding) -> str:
    if finding.path is None:
        return ""
    path = _escaped(finding.path).replace(":", "%3A").replace(",", "%2C")
    begin, end = (
        f"line={finding.line},col={finding.column}",
        f"endLine={finding.end_line},endColumn={finding.end_column}",
    )
    return f"file={path},{begin},{end},"


def _escaped(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


_directory = click.option(
    "--proto",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Check the proto in this directory, which contains bigfleet/v1alpha1/. [default: the kit's own proto]",
)
_format = click.option(
    "--format",
    "format_",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="Output format of the findings: text, one JSON object per line, GitHub annotations, or JUnit XML.",
)
_timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=buf.TIMEOUT_S,
    show_default=True,
    help="Maximum duration of all calls of buf, in seconds.",
)


@click.group("proto", short_help="Check the contract's proto, or your own copy of it.")
def proto() -> None:
    """Check the contract's proto, or your own copy of it.

    Providers are built from a copy of the contract's proto, and copies diverge. `lint` checks the layout of a copy;
    `breaking` checks that it is compatible with the released contract. Both use buf and no network.

    \b
    Examples:
      conformance proto lint
      conformance proto breaking --proto third_party/proto

    \b
    Exit codes:
      0  no findings
      1  findings
      2  the check could not be made
    """  # noqa: D301 - click reads the \b as a character


@proto.command("lint", short_help="Check names, numbers, layout and comments.")
@_directory
@_format
@_timeout
@reporting_errors()
def lint_command(directory: Path | None, format_: str, timeout: float) -> None:
    """Check names, numbers, layout and comments of the proto against the project's lint rules.

    \b
    Examples:
      conformance proto lint
      conformance proto lint --proto third_party/proto
      conformance proto lint --format github-actions
    """  # noqa: D301 - click reads the \b as a character
    _print_and_exit(buf.lint(directory, timeout=timeout), format_, "proto: no lint findings")


@proto.command("breaking", short_help="Check that the proto is compatible with a baseline.")
@_directory
@click.option(
    "--against",
    metavar="REF|FILE|DIR",
    help="Compare with this baseline: a descriptor set, a directory, or a git reference such as .git#branch=main. "
    "[default: the released contract]",
)
@_format
@_timeout
@reporting_errors()
def breaking_command(directory: Path | None, against: str | None, format_: str, timeout: float) -> None:
    """Check that clients and providers built on the baseline are compatible with this proto.

    Adding fields is safe. Changing a number, renaming or removing a field, or using a reserved number is not:
    generated code no longer compiles (FILE), or bytes and JSON change their meaning (WIRE_JSON).

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
    _print_and_exit(findings, format_, f"proto: no breaking change against {baseline} ({', '.join(buf.CATEGORIES)})")


@proto.command("descriptors", short_help="Write the contract as a descriptor set, for grpcurl.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the descriptor set to this file. [default: standard output]",
)
@reporting_errors()
def descriptors_command(output: Path | None) -> None:
    """Write the contract as a descriptor set, with which tools such as grpcurl need no server reflection.

    \b
    Examples:
      conformance proto descriptors -o bigfleet.binpb
      grpcurl -plaintext -protoset bigfleet.binpb \\
        127.0.0.1:9000 bigfleet.v1alpha1.CapacityProvider/List
    """  # noqa: D301 - click reads the \b as a character
    from conformance.results.grpcurl import PROTOSET, descriptors

    if output is None:
        if sys.stdout.isatty():
            raise UsageError("a descriptor set is binary", hint=f"write it to a file: -o {PROTOSET}")
        sys.stdout.buffer.write(descriptors())
        return
    try:
        output.write_bytes(descriptors())
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", hint="choose a writable file") from error


def _print_and_exit(findings: Findings, format_: str, summary_if_clean: str) -> NoReturn:
    click.echo(FORMATS[format_](findings), nl=False)
    if findings.found:
        raise SystemExit(EXIT_FINDINGS)
    # Machine-readable formats have standard output for themselves.
    click.echo(summary_if_clean, err=format_ != "text")
    raise SystemExit(0)
