"""`conformance config`: shows the effective options of a run in this directory, with the source of each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from conformance.frontends.cli.errors import reporting_errors
from conformance.frontends.cli.options import (
    ENVIRONMENT,
    SectionedCommand,
    configurable,
    configuration_of,
    long_name,
    run_options,
    target_options,
)

CONFIG_HELP = """Show the effective options of a run in this directory, and where each comes from.

\b
Examples:
  conformance config
  conformance config --config nightly.toml --max-machines 4
  conformance config --format json

\b
Precedence, highest first:
  1. the command line: --max-machines 4
  2. the environment: CONFORMANCE_MAX_MACHINES=4
  3. conformance.toml, or [tool.conformance] in pyproject.toml
  4. the default

A list replaces a list from a source with lower precedence. The values of headers and the path of the private key are
not shown.
"""


@click.command(
    "config",
    cls=SectionedCommand,
    help=CONFIG_HELP,
    short_help="Show the effective options of a run.",
    context_settings=ENVIRONMENT,
)
@target_options
@run_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@click.pass_context
@reporting_errors()
def config_command(context: click.Context, /, form: str, **given: Any) -> None:
    """Shows the effective options of a run, and where each comes from."""
    rows = [
        (name, public_value(name, given[str(option.name)]), _origin(context, option))
        for name, option in configurable().items()
    ]
    if form == "json":
        values = {name: {"value": value, "from": origin} for name, value, origin in rows}
        click.echo(json.dumps(values, indent=1, ensure_ascii=False))
        return
    widest = max(len(_text(value)) for _, value, _ in rows)
    for name, value, origin in rows:
        click.echo(f"{name:16} {_text(value):{min(widest, 40)}}  {origin}")


def public_value(name: str, value: Any) -> Any:
    """Returns a value without secrets: only the key of a header, and only whether a key file is set."""
    match value:
        case tuple() if name == "header":
            return [f"{header.partition('=')[0]}=…" if "=" in header else "…" for header in value]
        case Path() if name == "tls-key":
            return "set"
        case tuple():
            return list(value)
        case Path():
            return str(value)
        case _:
            return value


def _text(value: Any) -> str:
    match value:
        case None | []:
            return "-"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(map(_text, value))
        case _:
            # The file may be someone else's: it must not control the reader's terminal.
            return text if (text := str(value)).isprintable() else repr(text)


def _origin(context: click.Context, option: click.Option) -> str:
    match context.get_parameter_source(str(option.name)):
        case ParameterSource.COMMANDLINE:
            return "command line"
        case ParameterSource.ENVIRONMENT:
            return f"environment {_variable(option)}"
        case ParameterSource.DEFAULT_MAP:
            file = configuration_of(context)
            assert file is not None
            return file.where(long_name(option))
        case _:
            return "default"


def _variable(option: click.Option) -> str:
    own = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
    names = [*own, f"{ENVIRONMENT['auto_envvar_prefix']}_{str(option.name).upper()}"]
    return next((name for name in names if os.environ.get(name)), names[-1])
