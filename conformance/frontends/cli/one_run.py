"""A run of one lane for all commands: options -> Settings -> a run -> an exit code."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from conformance.core.errors import ConformanceError, UsageError
from conformance.frontends.cli.baseline_options import load_known_failures
from conformance.frontends.cli.errors import print_error
from conformance.frontends.cli.lane_options import check_options_of, choose_lane, lane_words
from conformance.frontends.cli.options import configuration_of, more_explicit, target_from
from conformance.frontends.cli.provider_options import control_from, given_commands

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from conformance.engine.options import Options
    from conformance.fleet.control import ControlOptions
    from conformance.frontends.runner import RunController
    from conformance.frontends.settings import Settings
    from conformance.results.report import Report

NO_TARGET: Final = "no target"
_WHICH_TARGET: Final = (
    "use --target host:port for a provider, --provider-cmd CMD to start one, or --fake for the embedded one"
)


def settings_from(**given: Any) -> Settings:
    """Checks all options before connecting, and returns them as one value. Raises UsageError."""
    from conformance import lanes

    if given["lane"] == lanes.ALL:
        raise UsageError(f"--lane {lanes.ALL} runs several lanes, and this is one run", hint="name one lane")
    lane = lanes.named(given["lane"])
    given, control = resolve_target(given)
    check_options_of(lane)
    return settings_of(given, control)


def resolve_target(given: dict[str, Any]) -> tuple[dict[str, Any], ControlOptions]:
    """Returns the options with the address of the target, and how the kit may control it. Raises UsageError."""
    given = one_target(click.get_current_context(), given)
    address, control = control_from(given)
    return {**given, "target": address}, control


def settings_of(given: dict[str, Any], control: ControlOptions) -> Settings:
    """Returns the settings of a run of one lane. Raises UsageError."""
    from conformance import lanes
    from conformance.core import catalogue
    from conformance.frontends.settings import Settings

    context = click.get_current_context()
    select, exclude = _selected(given), catalogue.patterns(given["exclude"])
    known, file = lanes.catalogue_of(lanes.named(given["lane"])), configuration_of(context)
    lane = choose_lane(**given)
    whole = len(known.select(select, exclude)) == len(known.entries)
    return Settings(
        target=None if given["fake"] else target_from(**given),
        control=control,
        select=select,
        exclude=exclude,
        options=_options(given, whole=whole, lane_options=lane_words(**given)),
        report_dir=given["report_dir"],
        quiet=given["quiet"],
        verbose=given["verbose"],
        color=given["color"],
        config=file.path if file else None,
        known_failures=load_known_failures(**given),
        **lane,
    )


def one_target(context: click.Context, given: dict[str, Any]) -> dict[str, Any]:
    """Returns the options with either a target or the fake: the command line takes precedence over other sources.

    A target from the same source as --provider-cmd or --replica-cmd, or with {port} in it, says how that provider is
    reached.
    """
    for one, other in (
        ("fake", "target"),
        ("fake", "provider_cmd"),
        ("fake", "replica_cmd"),
        ("provider_cmd", "replica_cmd"),
        ("provider_cmd", "target"),
        ("replica_cmd", "target"),
    ):
        if not (given[one] and given[other]) or (other == "target" and "{port}" in given["target"]):
            continue
        explicit = more_explicit(context, one, other)
        if explicit is not None:
            ignored = other if explicit == one else one
            given = {**given, ignored: False if ignored == "fake" else None}
        elif one == "fake":
            raise UsageError(f"--{other.replace('_', '-')} and --fake exclude each other", hint=_WHICH_TARGET)
    if not (given["fake"] or given["target"] or given["provider_cmd"] or given["replica_cmd"]):
        raise UsageError(NO_TARGET, hint=_WHICH_TARGET)
    return given


def _selected(given: dict[str, Any]) -> tuple[str, ...]:
    """Returns the patterns of `--select`; `failed` stands for the ids that failed in the baseline."""
    from conformance.core import catalogue

    select = catalogue.patterns(given["select"])
    if "failed" not in select:
        return select
    from conformance.results.reader import failed_in

    if given["baseline"] is None:
        raise UsageError("--select failed requires --baseline", hint="add --baseline report.json")
    return tuple(pattern for pattern in select if pattern != "failed") + failed_in(given["baseline"])


def _options(given: dict[str, Any], *, whole: bool, lane_options: tuple[str, ...]) -> Options:
    from conformance import lanes
    from conformance.core.timeouts import parse_duration, parse_patience
    from conformance.engine.options import Limits, Options, RunInfo, Timeouts
    from conformance.frontends.settings import version
    from conformance.rpc.faults.spec import parse_faults

    return Options(
        seed=secrets.randbelow(2**32) if given["seed"] is None else given["seed"],
        examples=given["examples"],
        limits=Limits(
            jobs=given["jobs"],
            max_machines=given["max_machines"],
            max_creates=given["max_creates"],
            timeout=parse_duration(given["timeout"]) if given["timeout"] else None,
        ),
        timeouts=Timeouts(
            patience=parse_patience(given["patience"]),
            rpc=parse_duration(given["rpc_timeout"]),
            connect=parse_duration(given["connect_timeout"]),
        ),
        use_idle=given["use_idle"],
        keep=given["keep"],
        fail_fast=given["fail_fast"],
        strict=given["strict"],
        require=_required(given["require"]),
        fence_scope=given["fence_scope"],
        hold=parse_duration(given["hold"]) if given["hold"] else 0.0,
        faults=parse_faults(given["fault"]),
        info=RunInfo(
            version=version(),
            whole=whole,
            fake=given["fake"],
            coverage=lanes.kit_coverage(given["lane"]),
            lane_options=lane_options,
            commands=given_commands(given),
        ),
        catalogue=lanes.whole_catalogue(),
    )


def _required(given: tuple[str, ...]) -> tuple[str, ...]:
    from conformance.core.catalogue import patterns
    from conformance.results.target_info import CAPABILITIES

    names = patterns(given)
    for name in names:
        if name not in CAPABILITIES:
            raise UsageError(f"--require {name}: unknown capability", hint=f"use one of {', '.join(CAPABILITIES)}")
    return names


def execute(settings: Settings, *, on_report: Callable[[Report], None] = lambda report: None) -> int:
    """Runs the lane, shows and writes the report, calls `on_report` with it, and returns the exit code."""
    from conformance.frontends.runner import RunController, handling_signals_around
    from conformance.reporters.progress import Live

    console = console_for(settings)
    live = Live(console, quiet=settings.quiet, verbose=settings.verbose)
    controller = RunController(settings, live)
    with handling_signals_around(controller.interrupt):
        try:
            run_lane(controller)
        finally:
            with suppress(OSError):
                live.end()
        return _conclude(controller, settings, on_report)


def console_for(settings: Settings) -> Console:
    """Returns the console of a run, and shows on it which configuration file was read."""
    from rich.console import Console

    console = Console(
        force_terminal=settings.color or None,
        no_color=True if settings.color is False else None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    if settings.config is not None and not settings.quiet:
        console.print(f"config     {settings.config}", soft_wrap=True)
    return console


def run_lane(controller: RunController) -> None:
    """Runs the lane of the controller's settings: through pytest, if it has tests."""
    if controller.settings.lane.needs_plan:
        from conformance.frontends import pytest_loop

        pytest_loop.run(controller)
    else:
        from conformance.frontends import collection

        controller.run(collection.chosen(controller.settings))


def _conclude(controller: RunController, settings: Settings, on_report: Callable[[Report], None]) -> int:
    """Prints errors that are not in the report, deletes a ledger that is not needed, and returns the exit code."""
    print_listener_errors(controller)
    if controller.error is not None:
        if isinstance(controller.error, UsageError) or controller.report is not None:
            raise controller.error
        print_kit_error(controller.error, settings)
        return 3
    assert controller.report is not None
    on_report(controller.report)
    delete_unneeded_ledger(controller.report, settings)
    return controller.report.exit_code or (2 if controller.listener_errors else 0)


def print_listener_errors(controller: RunController) -> None:
    """Prints which outputs of a run could not be written."""
    from conformance.core.text import printable

    for problem in controller.listener_errors:
        print_error(f"error: the output is incomplete: {printable(problem)}")


def print_kit_error(error: ConformanceError, settings: Settings) -> None:
    """Prints an error because of which a run has no report, and how to clean up."""
    from conformance.core.text import printable
    from conformance.frontends.settings import state_directory

    directory = settings.report_dir or state_directory()
    print_error(
        f"error: {printable(error.message)}",
        f"  hint: clean up with the ledger in {directory}: conformance sweep LEDGER --target HOST:PORT",
    )


def delete_unneeded_ledger(report: Report, settings: Settings) -> None:
    """Deletes the ledger of a run without a report directory that has returned all its machines."""
    if settings.report_dir is None and report.home.clean and report.ledger:
        Path(report.ledger).unlink(missing_ok=True)
