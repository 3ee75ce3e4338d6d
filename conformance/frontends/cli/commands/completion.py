"""`conformance completion`: the script by which a shell completes commands, options and behaviours."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from conformance.frontends.cli.errors import reporting_errors

PROGRAMS = ("conformance", "conformance-run")

COMPLETION_HELP = """Print the script that teaches your shell to complete: commands, options, ids of behaviours.

\b
  conformance completion bash >> ~/.bashrc
  conformance completion zsh >> ~/.zshrc
  conformance completion fish > ~/.config/fish/conf.d/conformance.fish

\b
For this shell alone:
  source <(conformance completion bash)
"""


@click.command("completion", help=COMPLETION_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@reporting_errors()
def completion_command(shell: str) -> None:
    """Print the script that teaches your shell to complete."""
    kind = get_completion_class(shell)
    assert kind is not None
    for program in PROGRAMS:
        variable = f"_{program}_COMPLETE".replace("-", "_").upper()
        complete = kind(click.Command(program), {}, program, variable)
        # Not `source()`: it first asks which bash is on the path, and it is not here that the script will run.
        script = complete.source_template % complete.source_vars()
        # fish would cut at every comma, and a selection has some.
        click.echo(script.replace('string split ","', 'string split --max 1 ","'))
