"""`conformance completion`: prints a script with which a shell completes commands, options and behaviours."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from conformance.frontends.cli.errors import reporting_errors

PROGRAMS = ("conformance", "conformance-run")

COMPLETION_HELP = """Print a script with which your shell completes commands, options, and ids of behaviours.

\b
Examples:
  conformance completion bash >> ~/.bashrc
  conformance completion zsh >> ~/.zshrc
  conformance completion fish > ~/.config/fish/conf.d/conformance.fish

\b
For the current shell only:
  source <(conformance completion bash)
"""


@click.command("completion", help=COMPLETION_HELP, short_help="Print a script for shell completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@reporting_errors()
def completion_command(shell: str) -> None:
    """Prints the completion script of a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    for program in PROGRAMS:
        variable = f"_{program}_COMPLETE".replace("-", "_").upper()
        complete = kind(click.Command(program), {}, program, variable)
        # Not `source()`: it checks the version of the bash on the path, but the script may run elsewhere.
        script = complete.source_template % complete.source_vars()
        # fish would split at every comma, but values of --select contain commas.
        click.echo(script.replace('string split ","', 'string split --max 1 ","'))
