"""`conformance run`, also installed as `conformance-run`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from conformance.core.errors import UsageError
from conformance.frontends.cli.errors import reporting_errors
from conformance.frontends.cli.one_run import execute, settings_from
from conformance.frontends.cli.options import ENVIRONMENT, SectionedCommand, run_options, target_options

if TYPE_CHECKING:
    from conformance.frontends.settings import Settings

RUN_HELP = """Judge a capacity provider by its contract.

The run connects to the provider, shows its capabilities, starts the machines
that the behaviours need, and prints a verdict with the evidence of each
failure. At the end it cleans up every machine that it started, also after
Ctrl-C or SIGTERM. After kill -9, `conformance sweep LEDGER` cleans up.

\b
Examples:
  conformance-run --target 127.0.0.1:9000
  conformance-run --target [::1]:9000 --select 'FEN-*' --report-dir out
  conformance-run --target cloud:443 --tls-ca ca.pem --patience create=20m
  conformance-run --target 127.0.0.1:9000 --max-machines 4 --max-creates 20
  conformance-run --target 127.0.0.1:9000 --fault lost-answer
  conformance-run --target 127.0.0.1:9000 --lane scale --soak 5m
  conformance-run --target 127.0.0.1:9000 --lane all --report-dir out
  conformance-run --target HOST:PORT --baseline out/report.json --fail-on new
  conformance-run --fake

Every option can also be set in conformance.toml, in [tool.conformance] of pyproject.toml, or in the environment
(CONFORMANCE_MAX_MACHINES=8). `conformance config` shows the effective options.

Durations are written as 500ms, 30s, 5m or 1h.

\b
Exit codes:
  0  conformant: no MUST is broken, and none was left undecided. The lines
     "profiles" and "coverage" say what this verdict covers
  1  not conformant: a MUST is broken, a waiver is stale, changed, expired or
     unknown, or a budget is exceeded
  2  usage error: an invalid option, configuration or file
  3  inconclusive: the target is unreachable or has too few machines, a MUST
     was not judged, or the run was interrupted
  4  conformant, but not all machines could be cleaned up. Machines that ended
     in FAILED do not count: no call leads out of there

--lane all runs each lane in turn, against the same provider, and writes a
certificate. The exit code is the first of 1, 3 and 4 that any lane ended with.

With --fail-on new, a MUST that failed in the same way in the baseline, or was not judged there either, does not
change the exit code. The verdict stays the same.
"""


@click.command(
    "run",
    cls=SectionedCommand,
    help=RUN_HELP,
    short_help="Judge a capacity provider by its contract.",
    context_settings=ENVIRONMENT,
)
@target_options
@run_options
@reporting_errors()
def run_command(**given: Any) -> None:
    """Judges a provider."""
    from conformance import lanes

    if given["lane"] != lanes.ALL:
        sys.exit(execute(settings_from(**given)))
    from conformance.frontends.cli import all_lanes

    sys.exit(all_lanes.execute(all_lanes.settings_from(**given)))


def parse_run(arguments: list[str], *, alone: bool = False) -> Settings:
    """Returns the settings that the options of `conformance-run` describe, for other front ends. Raises UsageError.

    With `alone` neither a configuration file nor the environment is read.
    """
    extra: dict[str, Any] = {"auto_envvar_prefix": ""} if alone else {}
    try:
        if alone:
            has_waivers = any(argument.startswith("--waivers") for argument in arguments)
            arguments = ["--no-config", *["--no-waivers"] * (not has_waivers), *arguments]
        if not all(map(_is_valid_argument, arguments)):
            raise UsageError("an option contains a NUL byte or an unpaired surrogate", hint="remove it")
        context = run_command.make_context("conformance-run", arguments, **extra)
    except click.ClickException as error:
        raise UsageError(error.format_message(), hint="see `conformance run --help`") from error
    with context:
        return settings_from(**context.params)


def _is_valid_argument(argument: str) -> bool:
    """Returns whether a command line can contain the argument."""
    try:
        return b"\0" not in os.fsencode(argument)
    except UnicodeEncodeError:
        return False
