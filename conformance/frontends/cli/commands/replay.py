"""`conformance replay`: judges behaviours of an earlier run again, with the same seed and options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from conformance import lanes
from conformance.core.errors import UsageError
from conformance.frontends.cli import completion
from conformance.frontends.cli.errors import reporting_errors
from conformance.frontends.cli.lane_options import settings_of
from conformance.frontends.cli.options import SectionedCommand, provider_options, target_from, target_options
from conformance.frontends.cli.provider_options import control_from, given_commands

if TYPE_CHECKING:
    from conformance.engine.options import Options
    from conformance.fleet.control import ControlOptions
    from conformance.results.report import Report
    from conformance.rpc.target import Target

HELP = """Judge behaviours of an earlier run again, with the same seed, cases and options, on new machines.

\b
Examples:
  conformance replay out/events.ndjson
  conformance replay out/events.ndjson FEN-3a
  conformance replay out/report.json FEN-3a LIF --target 127.0.0.1:9000

RECORD is the events.ndjson or the report.json of a run. ID is an id, a clause, an area or a glob; without an ID, all
behaviours that did not pass are judged again.

The target is that of the earlier run unless --target is given. A record contains no credentials and no commands: give
--header, the TLS files, --provider-cmd and --hosts-cmd again, or keep them in a configuration file. Machine ids and
tokens are new, because high-water marks outlive a run (FEN-12).

The last lines tell for each behaviour whether the result was reproduced. Exit codes are those of `conformance run`.
"""


@click.command("replay", cls=SectionedCommand, help=HELP, short_help="Judge behaviours of an earlier run again.")
@click.argument("record", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("behaviours", metavar="[ID]...", nargs=-1, shell_complete=completion.patterns)
@target_options
@provider_options
@click.option(
    "--max-creates", type=click.IntRange(0), metavar="N", help="Maximum number of machines to start during the replay."
)
@click.option(
    "--keep",
    is_flag=True,
    help="Do not clean up machines at the end, for debugging; `conformance sweep` does it later.",
)
@click.option(
    "--report-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the reports of the replay to this directory.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only failures and the summary.")
@click.option("-v", "--verbose", is_flag=True, help="Print every call of every behaviour.")
@click.option("--color/--no-color", default=None, help="Force or disable colours. [default: depends on the terminal]")
@reporting_errors()
def replay_command(record: Path, behaviours: tuple[str, ...], **given: Any) -> None:
    """Judges behaviours of an earlier run again."""
    from conformance.core import catalogue
    from conformance.core.text import printable
    from conformance.engine.replay import comparison_lines, select_ids
    from conformance.frontends.cli.one_run import execute
    from conformance.frontends.settings import Settings, version
    from conformance.lanes.records import read
    from conformance.results import evidence
    from conformance.results.profiles import lane_of

    before = read(record)
    if before.figures is not None:
        raise UsageError(
            f"{record} is a run of the {before.figures.lane} lane, whose behaviours cannot be judged separately",
            hint=f"repeat the whole run: {evidence.rerun_lane(before, before.figures)}",
        )
    target, control = _target(before, given)
    lane = lanes.named(lane_of(before))
    directory: Path | None = given["report_dir"] if _is_given("report_dir") else None
    if directory is not None and directory.resolve() == record.parent.resolve():
        raise UsageError("--report-dir is the directory of the record", hint="choose another directory")
    settings = Settings(
        target=target,
        control=control,
        select=select_ids(before, catalogue.patterns(behaviours), lanes.catalogue_of(lane)),
        options=_options(before, given, fake=target is None, lane=lane.name),
        report_dir=directory,
        quiet=given["quiet"],
        verbose=given["verbose"],
        color=given["color"],
        lane=lane,
        lane_settings=settings_of(lane, before.asked.lane_options),
    )
    if before.version and before.version != version():
        click.echo(f"note       recorded with kit {printable(before.version)}; this is {version()}", err=True)

    def print_comparison(now: Report) -> None:
        for line in comparison_lines(before, now):
            click.echo(printable(line))

    sys.exit(execute(settings, on_report=print_comparison))


def _is_given(name: str) -> bool:
    """Returns whether an option was given to this command. The record takes precedence over a configuration file."""
    return click.get_current_context().get_parameter_source(name) in (
        ParameterSource.COMMANDLINE,
        ParameterSource.ENVIRONMENT,
    )


def _target(before: Report, given: dict[str, Any]) -> tuple[Target | None, ControlOptions]:
    """Returns the target of the replay, None for the embedded fake, and how the kit may control it.

    Raises UsageError if credentials or commands are missing.
    """
    from conformance.fleet.control import ControlOptions

    missing = [name for name in before.asked.commands if name not in given_commands(given)]
    if missing and not _is_given("target"):
        raise UsageError(
            f"that run had --{missing[0]}, whose command is not recorded",
            hint=f"give --{missing[0]} again, or another --target",
        )
    if not _is_given("target") and not (given["provider_cmd"] or given["replica_cmd"]):
        if before.asked.fake:
            return None, ControlOptions()
        tls = before.found is not None and before.found.tls
        if tls and not (given["tls_ca"] or given["tls_cert"]):
            raise UsageError("that run used TLS", hint="give --tls-ca again, or another --target")
        absent = [n for n in before.asked.headers if n not in {h.partition("=")[0].lower() for h in given["header"]}]
        if absent:
            raise UsageError(
                f"that run sent the header {absent[0]!r}, whose value is not recorded",
                hint=f"give --header {absent[0]}=… again, or another --target",
            )
        given = {**given, "target": before.target, "server_name": given["server_name"] or before.asked.server_name}
    elif not _is_given("target"):
        given = {**given, "target": None}
    given["target"], control = control_from({**given, "fake": False})
    return target_from(**given), control


def _options(before: Report, given: dict[str, Any], *, fake: bool, lane: str) -> Options:
    """Returns the options of the earlier run, some of them replaced by options of this command."""
    from conformance.core.timeouts import parse_duration, parse_patience
    from conformance.engine.options import Limits, Options, RunInfo, Timeouts
    from conformance.frontends.settings import version
    from conformance.rpc.faults.spec import parse_faults

    asked = before.asked
    timeouts = Timeouts(
        patience=parse_patience(given["patience"]) if _is_given("patience") else asked.patience,
        rpc=parse_duration(given["rpc_timeout"]) if _is_given("rpc_timeout") else asked.rpc_timeout,
        connect=parse_duration(given["connect_timeout"]),
    )
    return Options(
        seed=before.seed,
        examples=asked.examples,
        limits=Limits(max_creates=given["max_creates"]),
        timeouts=timeouts,
        use_idle=asked.use_idle,
        keep=given["keep"],
        strict=before.strict,
        fence_scope=asked.fence_scope,
        hold=asked.hold,
        faults=parse_faults(asked.faults),
        info=RunInfo(
            version=version(),
            whole=False,
            fake=fake,
            coverage=lanes.kit_coverage(lane),
            lane_options=asked.lane_options,
            commands=given_commands(given),
        ),
        catalogue=lanes.whole_catalogue(),
    )
