"""The command line: `conformance-run` is `conformance run`, and its neighbours."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Final

import click

from conformance.frontends.cli.commands.run import run_command
from conformance.frontends.cli.errors import report, reporting_errors

GROUP_HELP = """Decides whether a gRPC capacity provider may be trusted with a fleet.

\b
  conformance run --target 127.0.0.1:9000
  conformance list --select FEN
  conformance show FEN-1a
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
"""Each command's name, and where it is: imported by who asks for it."""


class _Commands(click.Group):
    """The commands, each imported when it is wanted."""

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
    """Decides whether a gRPC capacity provider may be trusted with a fleet."""


def main(arguments: list[str] | None = None) -> None:
    """`conformance`."""
    _run(conformance, arguments, "conformance")


def run_main(arguments: list[str] | None = None) -> None:
    """`conformance-run`, which is `conformance run`."""
    _run(run_command, arguments, "conformance-run")


def _run(command: click.Command, arguments: list[str] | None, name: str) -> None:
    """Call a command; what click finds wrong is one line and exit code 2, like all that we find."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own log would bury our one line
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
