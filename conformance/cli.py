"""The command line: `conformance-run` is `conformance run`, and its neighbours."""

from __future__ import annotations

import os
import sys

import click

from conformance.console import report, reporting_errors
from conformance.run_command import run_command

GROUP_HELP = """Decides whether a gRPC capacity provider may be trusted with a fleet.

\b
  conformance run --target 127.0.0.1:9000
  conformance list --select FEN
  conformance show FEN-1a
"""


@click.group(help=GROUP_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="capacity-provider-conformance", prog_name="conformance")
def conformance() -> None:
    """Decides whether a gRPC capacity provider may be trusted with a fleet."""


def _mount() -> None:
    from conformance.catalogue_command import list_command, show_command
    from conformance.completion_command import completion_command
    from conformance.config_command import config_command
    from conformance.diff_command import diff_command
    from conformance.next_command import next_command
    from conformance.plan_command import plan_command
    from conformance.proto_command import proto
    from conformance.render_command import render_command
    from conformance.replay_command import replay_command
    from conformance.selftest_command import selftest_command
    from conformance.sweep_command import sweep_command
    from conformance.waive_command import waive_command

    for command in (
        *(run_command, plan_command, replay_command, next_command, sweep_command, list_command, show_command),
        *(render_command, diff_command, waive_command, config_command, completion_command, proto, selftest_command),
    ):
        conformance.add_command(command)


_mount()


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
