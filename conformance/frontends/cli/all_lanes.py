"""`--lane all`: runs each lane in turn, against one provider, and makes the certificate of what they have judged."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from conformance import lanes
from conformance.core.errors import TargetError, UsageError
from conformance.core.text import printable, quantity
from conformance.engine.options import FAKE
from conformance.frontends.cli import errors, one_run
from conformance.results.certificate import Certificate, LaneOutcome, certificate
from conformance.results.result import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from conformance.frontends.provided import SharedProvider
    from conformance.frontends.runner import RunController
    from conformance.frontends.settings import Settings
    from conformance.lanes.protocol import Lane

ONE_LANE_ONLY: Final = ("select", "exclude", "baseline", "fail_on")
"""The options that are about the behaviours of one run."""


def settings_from(**given: Any) -> tuple[Settings, ...]:
    """Checks all options before connecting, and returns the settings of each lane. Raises UsageError.

    An option that does not apply to a lane is left out of its settings.
    """
    context = click.get_current_context()
    for name in ONE_LANE_ONLY:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name.replace('_', '-')} does not apply to --lane {lanes.ALL}", hint="name one lane")
    given, control = one_run.resolve_target(given)
    if given["seed"] is None:
        given = {**given, "seed": secrets.randbelow(2**32)}
    defaults = context.command.make_context("run", ["--no-config", "--fake"], auto_envvar_prefix="").params
    given |= {name: defaults[name] for name in ONE_LANE_ONLY}
    return tuple(one_run.settings_of(_options_of(lane, given, defaults), control) for lane in lanes.all_lanes())


def _options_of(lane: Lane[Any], given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of one lane, whose reports go to a directory of its own."""
    source_of = click.get_current_context().get_parameter_source
    own = given | {(name := excluded.replace("-", "_")): defaults[name] for excluded in lane.excluded}
    own |= {name: value for name, value in lane.in_all.items() if source_of(name) is ParameterSource.DEFAULT}
    if given["report_dir"] is not None:
        own["report_dir"] = given["report_dir"] / lane.name
    return own | {"lane": lane.name}


def execute(settings: Sequence[Settings]) -> int:
    """Runs all lanes, writes their reports and the certificate, and returns the exit code."""
    from conformance.frontends.provided import SharedProvider
    from conformance.frontends.runner import handling_signals_around

    first = settings[0]
    directory = first.report_dir.parent if first.report_dir is not None else None
    _prepare(settings, directory)
    loop = LaneLoop(settings, one_run.console_for(first), directory)
    with handling_signals_around(loop.interrupt):
        with SharedProvider(first, directory=directory) as shared:
            loop.run(shared)
        return loop.conclude()


def _prepare(settings: Sequence[Settings], directory: Path | None) -> None:
    """Checks the report directories of all lanes before the first one runs, and empties old reports."""
    if directory is None:
        return
    from conformance.frontends.settings import check_report_dir
    from conformance.reporters import certificate_files, report_dir

    for each in settings:
        assert each.report_dir is not None
        check_report_dir(each.report_dir)
    try:
        for each in settings:
            assert each.report_dir is not None
            report_dir.empty(each.report_dir)
        certificate_files.empty(directory)
    except OSError as error:
        raise UsageError(
            f"--report-dir {directory} cannot be written: {error.strerror}", hint="choose a writable directory"
        ) from error


class LaneLoop:
    """One run of all lanes. Created and used once."""

    def __init__(self, settings: Sequence[Settings], console: Console, directory: Path | None) -> None:
        self._settings, self._console, self._directory = settings, console, directory
        self._outcomes: list[LaneOutcome] = []
        self._controller: RunController | None = None
        self._stopped = ""
        """The reason why no further lane runs; empty at first."""
        self._usage_error: UsageError | None = None
        self._incomplete = False
        """True if an output could not be written."""
        self._began = time.monotonic()

    def interrupt(self, reason: str) -> None:
        """Ends the run because of a signal: the running lane cleans up, and no further one starts."""
        self._stopped = self._stopped or reason
        if self._controller is not None:
            self._controller.interrupt(reason)

    def run(self, shared: SharedProvider) -> None:
        """Runs the lanes in order, and writes the certificate after each one."""
        first, count = self._settings[0], len(self._settings)
        if not first.quiet:
            address = first.target.address if first.target is not None else FAKE
            self._print(f"target     {address} · seed {first.options.seed} · {quantity(count, 'lane')}", "")
        for number, settings in enumerate(self._settings, 1):
            settings = self._within_limits(settings)
            if self._stopped:
                self._outcomes.append(LaneOutcome(lane=settings.lane.name, reason=self._stopped))
                continue
            if not settings.quiet:
                self._print(*([""] if number > 1 else []), f"lane {number} of {count}: {settings.lane.name}", "")
            self._outcomes.append(self._run_lane(settings, shared))
            if number < count:
                self._write("the run of all lanes has not ended")

    def conclude(self) -> int:
        """Writes and shows the certificate, and returns the exit code. Raises UsageError if a lane did."""
        from conformance.reporters import certificate as reporter

        self._write("")
        found = self._certificate("")
        if not self._settings[0].quiet:
            self._print("")
        for line in reporter.lines(found):
            self._print(line, style=_style(line, found))
        if self._directory is not None:
            self._print(f"{'':{reporter.INDENT}}{self._directory / 'certificate.json'}, .md and .html")
        if self._usage_error is not None:
            raise self._usage_error
        return found.exit_code or (2 if self._incomplete else 0)

    def _within_limits(self, settings: Settings) -> Settings:
        """Returns the settings with what earlier lanes have left of --max-creates and --timeout."""
        limits = settings.options.limits
        if limits.max_creates is not None:
            spent = sum(outcome.report.bill.create for outcome in self._outcomes if outcome.report is not None)
            limits = replace(limits, max_creates=max(0, limits.max_creates - spent))
        if limits.timeout is not None:
            left = limits.timeout - (time.monotonic() - self._began)
            if left <= 0:
                self._stopped = self._stopped or f"--timeout {limits.timeout:g} s is over"
            limits = replace(limits, timeout=left)
        return replace(settings, options=replace(settings.options, limits=limits))

    def _run_lane(self, settings: Settings, shared: SharedProvider) -> LaneOutcome:
        from conformance.frontends.runner import RunController
        from conformance.reporters.progress import Live

        live = Live(self._console, quiet=settings.quiet, verbose=settings.verbose, part=True)
        controller = self._controller = RunController(settings, live, shared=shared)
        if self._stopped:
            controller.interrupt(self._stopped)  # a signal came when the lane was already announced
        try:
            one_run.run_lane(controller)
        finally:
            with suppress(OSError):
                live.end()
        self._note_problems(controller, settings, shared)
        return LaneOutcome(
            lane=settings.lane.name,
            report=controller.report,
            reason=controller.error.message if controller.error is not None else "",
            path=settings.lane.name if settings.report_dir is not None else "",
        )

    def _note_problems(self, controller: RunController, settings: Settings, shared: SharedProvider) -> None:
        """Prints the errors of a lane, and notes why no further one may run."""
        one_run.print_listener_errors(controller)
        self._incomplete = self._incomplete or bool(controller.listener_errors)
        report, error = controller.report, controller.error
        self._stopped = self._stopped or controller.interrupted or ""
        if isinstance(error, UsageError):
            self._usage_error = error
            self._stopped = self._stopped or error.message
        elif error is not None and report is not None:
            errors.report(error.message, error.hint)
        elif error is not None:
            one_run.print_kit_error(error, settings)
        if isinstance(error, TargetError) and shared.down:
            self._stopped = self._stopped or error.message
        if report is None:
            return
        one_run.delete_unneeded_ledger(report, settings)
        if settings.options.fail_fast and report.verdict is Verdict.NON_CONFORMANT:
            self._stopped = self._stopped or f"--fail-fast: the {settings.lane.name} lane has found a failure"

    def _certificate(self, reason: str) -> Certificate:
        """Returns the certificate of the lanes that have ended; `reason`: why the others have not."""
        first = self._settings[0]
        later = [LaneOutcome(lane=s.lane.name, reason=reason) for s in self._settings[len(self._outcomes) :]]
        reports = [outcome.report for outcome in self._outcomes if outcome.report is not None]
        return certificate(
            [*self._outcomes, *later],
            kit=first.options.info.version,
            target=reports[0].target if reports else first.target.address if first.target else FAKE,
            seed=first.options.seed,
        )

    def _write(self, reason: str) -> None:
        if self._directory is None:
            return
        from conformance.reporters import certificate_files

        try:
            certificate_files.write(self._directory, self._certificate(reason))
        except OSError as error:
            self._incomplete = True
            errors.print_error(f"error: the certificate could not be written: {error.strerror}")

    def _print(self, *lines: str, style: str = "") -> None:
        from rich.text import Text

        for line in lines:
            self._console.print(Text(printable(line), style=style), soft_wrap=True)


def _style(line: str, found: Certificate) -> str:
    from conformance.reporters.progress import VERDICTS

    if line.startswith("certificate"):
        return VERDICTS[found.verdict]
    return "bold red" if line.startswith(("BROKEN", "clean-up")) else ""
