"""`conformance config`: what holds for a run started here, and who said so."""

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
    configurable,
    configuration_of,
    long_name,
    run_options,
    target_options,
)

CONFIG_HELP = """Show the options of a run as they hold here, and where each comes from.

\b
  conformance config
  conformance config --config nightly.toml --max-machines 4
  conformance config --format json

An option on the command line goes before its environment variable (--max-machines, CONFORMANCE_MAX_MACHINES), that
before conformance.toml or [tool.conformance] of pyproject.toml, that before the default. A list replaces a list.
The values of headers, and where a key lies, are not shown.
"""


@click.command("config", help=CONFIG_HELP, context_settings=ENVIRONMENT)
@target_options
@run_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
@reporting_errors()
def config_command(context: click.Context, /, form: str, **given: Any) -> None:
    """Show the options of a run as they hold here, and where each comes from."""
    rows = [
        (name, shown(name, given[str(option.name)]), _origin(context, option))
        for name, option in configurable().items()
    ]
    if form == "json":
        told = {name: {"value": value, "from": origin} for name, value, origin in rows}
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    wide = max(len(_text(value)) for _, value, _ in rows)
    for name, value, origin in rows:
        click.echo(f"{name:16} {_text(value):{min(wide, 40)}}  {origin}")


def shown(name: str, value: Any) -> Any:
    """A value as everybody may see it: of a header its key alone, of a key file only that there is one."""
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
            # Whoever wrote the file need not be whoever looks at it now.
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
