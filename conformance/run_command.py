"""`conformance run`, which is `conformance-run`: options -> Settings -> a run -> an exit code."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from conformance.console import complain, reporting_errors
from conformance.errors import UsageError
from conformance.held import held_against
from conformance.lanes import asked_for
from conformance.options import ENVIRONMENT, configuration_of, run_options, stronger, target_from, target_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.loop import Loop
    from conformance.report import Report
    from conformance.settings import Settings

NO_TARGET: Final = "no target"

RUN_HELP = """Judge a capacity provider by its contract.

\b
  conformance-run --target 127.0.0.1:9000
  conformance-run --target [::1]:9000 --select 'FEN-*' --report-dir out
  conformance-run --target cloud:443 --tls-ca ca.pem --patience create=20m,drain=1h
  conformance-run --target 127.0.0.1:9000 --baseline out/report.json --fail-on new
  conformance-run --target 127.0.0.1:9000 --lane scale --soak 5m --budget list.p99=500ms
  conformance-run --target 127.0.0.1:9000 --fault lost-answer --fault delay=5ms..50ms
  conformance-run --fake

What is found at the target is shown before anything is touched. Machines that the run starts are brought home at
the end, also after Ctrl-C; after a kill -9, `conformance sweep LEDGER` does it.

Every option may also stand in conformance.toml, in [tool.conformance] of pyproject.toml, or in the environment
(CONFORMANCE_MAX_MACHINES=8); `conformance config` shows what holds and why.

\b
Exit codes:
  0  conformant
  1  not conformant: a MUST is broken; or a waiver is stale, changed, expired or unknown; or a budget is exceeded
  2  usage or configuration
  3  inconclusive: unreachable, too few machines, a MUST not judged, interrupted
  4  conformant, but machines could not be brought home
With --fail-on new a MUST that failed in the baseline too, and in the same way, or was not judged there either,
leaves the exit code alone; the verdict in words stays what it is.
"""


@click.command("run", help=RUN_HELP, context_settings=ENVIRONMENT)
@target_options
@run_options
@reporting_errors()
def run_command(**given: Any) -> None:
    """Judge a provider."""
    sys.exit(execute(settings_from(**given)))


def settings_from(**given: Any) -> Settings:
    """Check what was asked for, all of it, before anything is dialled. Raises UsageError."""
    from conformance import catalogue
    from conformance.patience import parse_duration, parse_patience
    from conformance.run_options import Options
    from conformance.settings import Settings, version
    from conformance.weather import parse_faults

    context = click.get_current_context()
    if given["fake"] and given["target"]:
        # What is typed goes before what is set, and that before what was written down once.
        match stronger(context, "fake", "target"):
            case "fake":
                given["target"] = None
            case "target":
                given["fake"] = False
            case _:
                pass
    if given["fake"] == bool(given["target"]):
        problem = "both a target and --fake" if given["fake"] else NO_TARGET
        raise UsageError(problem, hint="give --target host:port for a provider, or --fake for the embedded one")
    select, exclude = catalogue.patterns(given["select"]), catalogue.patterns(given["exclude"])
    if "failed" in select:
        from conformance.record import failed_in

        if given["baseline"] is None:
            raise UsageError("--select failed needs to know of which run", hint="add --baseline report.json")
        select = tuple(p for p in select if p != "failed") + failed_in(given["baseline"])
    known = catalogue.load()
    chosen = known.select(select, exclude)
    timeout, file = given["timeout"], configuration_of(context)
    target = None if given["fake"] else target_from(**given)
    return Settings(
        target=target,
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
            faults=parse_faults(given["fault"]),
            whole=len(chosen) == len(known.entries),
            version=version(),
            fake=given["fake"],
        ),
        report_dir=given["report_dir"],
        quiet=given["quiet"],
        verbose=given["verbose"],
        color=given["color"],
        config=file.path if file else None,
        scale=asked_for(**given),
        **held_against(**given),
    )


def _required(given: tuple[str, ...]) -> tuple[str, ...]:
    from conformance.catalogue import patterns
    from conformance.found import CAPABILITIES

    names = patterns(given)
    for name in names:
        if name not in CAPABILITIES:
            raise UsageError(f"--require {name}: no such capability", hint=f"one of {', '.join(CAPABILITIES)}")
    return names


def parse_run(arguments: list[str], *, alone: bool = False) -> Settings:
    """Settings from the options of `conformance-run`, for the other front doors. Raises UsageError.

    With `alone` neither a file that lies about nor the environment has a say.
    """
    extra: dict[str, Any] = {"auto_envvar_prefix": ""} if alone else {}
    try:
        if alone:
            waived = any(argument.startswith("--waivers") for argument in arguments)
            arguments = ["--no-config", *["--no-waivers"] * (not waived), *arguments]
        if not all(map(_typeable, arguments)):
            raise UsageError(
                "an option holds what no command line can", hint="leave out null bytes and half characters"
            )
        context = run_command.make_context("conformance-run", arguments, **extra)
    except click.ClickException as error:
        raise UsageError(error.format_message(), hint="`conformance run --help` says what it takes") from error
    with context:
        return settings_from(**context.params)


def _typeable(argument: str) -> bool:
    """Whether a command line could hold it."""
    try:
        return b"\0" not in os.fsencode(argument)
    except UnicodeEncodeError:
        return False


def execute(settings: Settings, *, tell: Callable[[Report], None] = lambda report: None) -> int:
    """Run the suite, show it, write what was asked for, and `tell` more of it; the exit code."""
    from rich.console import Console

    from conformance import loop
    from conformance.reporters.progress import Live

    console = Console(
        force_terminal=settings.color or None,
        no_color=True if settings.color is False else None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    if settings.config is not None and not settings.quiet:
        console.print(f"config     {settings.config}", soft_wrap=True)
    live = Live(console, quiet=settings.quiet, verbose=settings.verbose)
    done = loop.Loop(settings, live)
    with loop.hearing(done):
        try:
            loop.run(done)
        finally:
            with suppress(OSError):
                live.end()
        return _concluded(done, settings, tell)


def _concluded(done: Loop, settings: Settings, tell: Callable[[Report], None]) -> int:
    """Say what the report does not, and forget a ledger that nobody needs; the exit code."""
    from conformance.settings import state_directory
    from conformance.text import printable

    for trouble in done.muted:
        complain(f"error: not all could be shown or written: {printable(trouble)}")
    if done.error is not None:
        if isinstance(done.error, UsageError) or done.report is not None:
            raise done.error
        where = settings.report_dir or state_directory()
        complain(
            f"error: {printable(done.error.message)}",
            f"  hint: the ledger in {where} names what was started: conformance sweep LEDGER --target …",
        )
        return 3
    assert done.report is not None
    tell(done.report)
    if settings.report_dir is None and done.report.home.clean:
        Path(done.report.ledger).unlink(missing_ok=True)
    return done.report.exit_code or (2 if done.muted else 0)
