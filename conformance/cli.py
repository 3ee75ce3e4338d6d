"""The command line: `conformance-run` is `conformance run`, and its neighbours."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from conformance.console import reporting_errors
from conformance.errors import UsageError
from conformance.held import held_against, held_options
from conformance.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.settings import Settings
    from conformance.target import Target

RUN_HELP = """Judge a capacity provider by its contract.

\b
  conformance-run --target 127.0.0.1:9000
  conformance-run --target [::1]:9000 --select 'FEN-*' --report-dir out
  conformance-run --target cloud:443 --tls-ca ca.pem --patience create=20m,drain=1h
  conformance-run --target 127.0.0.1:9000 --baseline out/report.json --fail-on new
  conformance-run --fake

What is found at the target is shown before anything is touched. Machines that the run starts are brought home at
the end, also after Ctrl-C; after a kill -9, `conformance sweep LEDGER` does it.

\b
Exit codes:
  0  conformant
  1  not conformant: a MUST is broken; or a waiver is stale, changed, expired or unknown
  2  usage or configuration
  3  inconclusive: unreachable, too few machines, a MUST not judged, interrupted
  4  conformant, but machines could not be brought home
With --fail-on new a MUST that failed in the baseline too, and in the same way, or was not judged there either,
leaves the exit code alone; the verdict in words stays what it is.
"""


GROUP_HELP = """Decides whether a gRPC capacity provider may be trusted with a fleet.

\b
  conformance run --target 127.0.0.1:9000
  conformance list --select FEN
  conformance show FEN-1a
"""

SWEEP_HELP = """Bring home what a dead run left, by its LEDGER.

\b
  conformance sweep out/ledger.ndjson --target 127.0.0.1:9000

\b
Exit codes:
  0  all is home
  2  usage or configuration
  3  the target cannot be reached
  4  something is left
"""


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where the target is and how it is dialled."""
    for option in reversed(
        (
            click.option(
                "--target",
                metavar="HOST:PORT",
                envvar=["CONFORMANCE_TARGET", "BIGFLEET_PROVIDER_TARGET"],
                show_envvar=True,
                help="The provider's endpoint: host:port, [ipv6]:port or unix:/path.",
            ),
            click.option(
                "--header",
                multiple=True,
                metavar="K=V",
                help="A header for every call. Repeatable; never shown.",
            ),
            click.option(
                "--tls-ca",
                type=click.Path(path_type=Path),
                help="PEM of the CA that signed the provider: use TLS.",
            ),
            click.option(
                "--tls-cert",
                type=click.Path(path_type=Path),
                help="PEM of our client certificate.",
            ),
            click.option("--tls-key", type=click.Path(path_type=Path), help="PEM of its unencrypted key."),
            click.option(
                "--server-name",
                metavar="NAME",
                help="The name that the provider's certificate is checked for.",
            ),
            click.option(
                "--patience",
                default="5m",
                show_default=True,
                metavar="P",
                help="How long a transition may take: 5m, or create=20m,drain=1h.",
            ),
            click.option(
                "--rpc-timeout",
                default="30s",
                show_default=True,
                metavar="D",
                help="The deadline of one RPC.",
            ),
            click.option(
                "--connect-timeout",
                default="10s",
                show_default=True,
                metavar="D",
                help="How long to wait for the first connection.",
            ),
        )
    ):
        command = option(command)
    return command


@click.group(help=GROUP_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="capacity-provider-conformance", prog_name="conformance")
def conformance() -> None:
    """Decides whether a gRPC capacity provider may be trusted with a fleet."""


@conformance.command("run", help=RUN_HELP)
@target_options
@click.option("--fake", is_flag=True, help="Judge the embedded fake provider instead of a target.")
@click.option(
    "--select",
    multiple=True,
    metavar="WHAT",
    help="Only these: ids, clauses, areas, globs (FEN-*), or `failed` with --baseline. Commas or repeated.",
)
@click.option("--exclude", multiple=True, metavar="WHAT", help="Not these; the same forms.")
@held_options
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="At most so many behaviours at once. [default: all]")
@click.option("--max-machines", type=click.IntRange(1), metavar="N", help="At most so many machines alive at once.")
@click.option("--max-creates", type=click.IntRange(0), metavar="N", help="Start at most so many machines in all.")
@click.option("--use-idle", is_flag=True, help="Also drive machines found IDLE and unbound: for pools without Delete.")
@click.option(
    "--fence-scope",
    type=click.Choice(["shard", "shard-machine"]),
    help="Demand this scope of the high-water mark (FEN-13).",
)
@click.option("--require", multiple=True, metavar="WHAT", help="Fail where the target lacks it: delete, revisions, …")
@click.option("--fail-fast", is_flag=True, help="Stop after the first failure.")
@click.option("--strict", is_flag=True, help="A broken SHOULD counts like a broken MUST.")
@click.option("--seed", type=int, metavar="N", help="Draw the same cases as an earlier run. [default: random]")
@click.option(
    "--examples",
    type=click.IntRange(1),
    default=25,
    show_default=True,
    metavar="N",
    help="Cases per property, at most.",
)
@click.option("--timeout", metavar="D", help="End the whole run after this long; what is left is not judged.")
@click.option("--keep", is_flag=True, help="Leave machines as they are at the end, for debugging; sweep them later.")
@click.option(
    "--report-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write report.html, report.json, report.md, junit.xml, badge.json, events.ndjson and ledger.ndjson here.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only failures and the closing lines.")
@click.option("-v", "--verbose", is_flag=True, help="Every call of every behaviour.")
@click.option("--color/--no-color", default=None, help="Colours. [default: as the terminal is]")
@reporting_errors()
def run_command(**given: Any) -> None:
    """Judge a provider."""
    sys.exit(execute(settings_from(**given)))


def settings_from(**given: Any) -> Settings:
    """Check what was asked for, all of it, before anything is dialled. Raises UsageError."""
    from conformance import catalogue
    from conformance.engine import Options
    from conformance.patience import parse_duration, parse_patience
    from conformance.settings import Settings, version

    if given["fake"] and click.get_current_context().get_parameter_source("target") is ParameterSource.ENVIRONMENT:
        given["target"] = None  # what is typed goes before what is set
    if given["fake"] == bool(given["target"]):
        problem = "both a target and --fake" if given["fake"] else "no target"
        raise UsageError(problem, hint="give --target host:port for a provider, or --fake for the embedded one")
    select, exclude = catalogue.patterns(given["select"]), catalogue.patterns(given["exclude"])
    if "failed" in select:
        from conformance.record import failed_in

        if given["baseline"] is None:
            raise UsageError("--select failed needs to know of which run", hint="add --baseline report.json")
        select = tuple(p for p in select if p != "failed") + failed_in(given["baseline"])
    known = catalogue.load()
    chosen = known.select(select, exclude)
    timeout = given["timeout"]
    return Settings(
        target=None if given["fake"] else target_from(**given),
        select=select,
        exclude=exclude,
        options=Options(
            seed=secrets.randbelow(2**32) if given["seed"] is None else given["seed"],
            examples=given["examples"],
            jobs=given["jobs"],
            max_machines=given["max_machines"],
            max_creates=given["max_creates"],
            use_idle=given["use_idle"],
            keep=given["keep"],
            fail_fast=given["fail_fast"],
            strict=given["strict"],
            require=_required(given["require"]),
            fence_scope=given["fence_scope"],
            patience=parse_patience(given["patience"]),
            rpc_timeout=parse_duration(given["rpc_timeout"]),
            connect_timeout=parse_duration(given["connect_timeout"]),
            timeout=parse_duration(timeout) if timeout else None,
            whole=len(chosen) == len(known.entries),
            version=version(),
        ),
        report_dir=given["report_dir"],
        quiet=given["quiet"],
        verbose=given["verbose"],
        color=given["color"],
        **held_against(**given),
    )


def target_from(**given: Any) -> Target:
    """The target that the options name. Raises UsageError."""
    from conformance.target import Target, load_tls, parse_address, parse_header

    return Target(
        address=parse_address(given["target"]),
        tls=load_tls(
            ca=given["tls_ca"], cert=given["tls_cert"], key=given["tls_key"], server_name=given["server_name"]
        ),
        headers=tuple(parse_header(text) for text in given["header"]),
    )


def _required(given: tuple[str, ...]) -> tuple[str, ...]:
    from conformance.catalogue import patterns
    from conformance.found import CAPABILITIES

    names = patterns(given)
    for name in names:
        if name not in CAPABILITIES:
            raise UsageError(f"--require {name}: no such capability", hint=f"one of {', '.join(CAPABILITIES)}")
    return names


def parse_run(arguments: list[str]) -> Settings:
    """Settings from the options of `conformance-run`, for the other front door. Raises UsageError."""
    try:
        context = run_command.make_context("conformance-run", list(arguments))
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    with context:
        return settings_from(**context.params)


def execute(settings: Settings) -> int:
    """Run the suite, show it, write what was asked for; the exit code."""
    from rich.console import Console

    from conformance import loop
    from conformance.reporters.progress import Live
    from conformance.settings import state_directory

    console = Console(
        force_terminal=settings.color or None,
        no_color=True if settings.color is False else None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    live = Live(console, quiet=settings.quiet, verbose=settings.verbose)
    try:
        done = loop.run(settings, live)
    finally:
        live.end()
    for trouble in done.muted:
        click.echo(f"error: not all could be shown or written: {printable(trouble)}", err=True)
    if done.error is not None:
        if isinstance(done.error, UsageError) or done.report is not None:
            raise done.error
        click.echo(f"error: {printable(done.error.message)}", err=True)
        where = settings.report_dir or state_directory()
        click.echo(
            f"  hint: the ledger in {where} names what was started: conformance sweep LEDGER --target …",
            err=True,
        )
        return 3
    assert done.report is not None
    if settings.report_dir is None and done.report.home.clean:
        Path(done.report.ledger).unlink(missing_ok=True)
    return done.report.exit_code or (2 if done.muted else 0)


@conformance.command("sweep", help=SWEEP_HELP)
@click.argument("ledger", type=click.Path(path_type=Path, dir_okay=False))
@target_options
@click.option("--any-target", is_flag=True, help="Sweep although the ledger names another address.")
@reporting_errors()
def sweep_command(ledger: Path, any_target: bool, **given: Any) -> None:
    """Bring home what a dead run left, by its LEDGER."""
    from conformance.patience import parse_duration, parse_patience
    from conformance.sweep import sweep

    if not given["target"]:
        raise UsageError("no target", hint="give --target host:port, the one that the run had")
    home = asyncio.run(
        sweep(
            ledger,
            target_from(**given),
            patience=parse_patience(given["patience"]),
            rpc_timeout=parse_duration(given["rpc_timeout"]),
            connect_timeout=parse_duration(given["connect_timeout"]),
            any_target=any_target,
            say=lambda line: click.echo(printable(line)),
        )
    )
    click.echo("all is home" if home.clean else f"{len(home.left)} machines are left")
    sys.exit(0 if home.clean else 4)


def _mount() -> None:
    from conformance.catalogue_command import list_command, show_command
    from conformance.diff_command import diff_command
    from conformance.proto_command import proto
    from conformance.render_command import render_command
    from conformance.selftest_command import selftest_command
    from conformance.waive_command import waive_command

    commands = (list_command, show_command, render_command, diff_command, waive_command, proto, selftest_command)
    for command in commands:
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
        code = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        click.echo(f"  hint: {name} --help", err=True)
        sys.exit(2)
    except click.Abort:
        sys.exit(3)
    sys.exit(code if isinstance(code, int) else 0)
