"""The command line: `conformance` with its commands, and `conformance-run`, which is `conformance run`."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Final

import click

from conformance.frontends.cli.commands.run import run_command
from conformance.frontends.cli.errors import report, reporting_errors

GROUP_HELP = """Check whether a gRPC capacity provider keeps the BigFleet provider contract.

\b
Examples:
  conformance plan --target 127.0.0.1:9000
  conformance run --target 127.0.0.1:9000 --report-dir out
  conformance show FEN-3a
  conformance replay out/report.json FEN-3a
  conformance sweep out/ledger.ndjson --target 127.0.0.1:9000

`conformance COMMAND --help` explains a command and its options.
"""


COMMANDS: Final = {
    "run": "run:run_command",
    "plan": "plan:plan_command",
    "replay": "replay:replay_command",
    "next": "next:next_command",
    "sweep": "sweep:sweep_command",
    "list": "catalogue:list_command",
    "show": "catalogue:show_command",
    "render": "render:render_command",
    "diff": "diff:diff_command",
    "waive": "waive:waive_command",
    "config": "config:config_command",
    "completion": "completion:completion_command",
    "proto": "proto:proto",
    "selftest": "selftest:selftest_command",
}
"""Each command's name, with the module and the function that implement it."""


class _Commands(click.Group):
    """The commands; each module is imported when its command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"conformance.frontends.cli.commands.{module}"), name)
        return command


@click.group(
    cls=_Commands, help=GROUP_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="capacity-provider-conformance", prog_name="conformance")
def conformance() -> None:
    """Checks whether a gRPC capacity provider keeps its contract."""


def main(arguments: list[str] | None = None) -> None:
    """Runs `conformance`."""
    _run(conformance, arguments, "conformance")


def run_main(arguments: list[str] | None = None) -> None:
    """Runs `conformance-run`, which is `conformance run`."""
    _run(run_command, arguments, "conformance-run")


def _run(command: click.Command, arguments: list[str] | None, name: str) -> None:
    """Calls a command. Usage errors that click finds become one line and exit code 2, like our own."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's log on stderr would hide our one line
    try:
        with reporting_errors():
            code = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        report(" ".join(error.format_message().split()), f"{name} --help")
        sys.exit(2)
    except click.Abort:
        sys.exit(3)
    sys.exit(code if isinstance(code, int) else 0)
