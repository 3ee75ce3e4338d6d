"""`conformance replay`: judges behaviours of an earlier run again, as they were judged then."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from conformance.core.errors import UsageError
from conformance.frontends.cli import completion
from conformance.frontends.cli.errors import reporting_errors
from conformance.frontends.cli.options import target_from, target_options

if TYPE_CHECKING:
    from conformance.engine.options import Options
    from conformance.results.report import Report
    from conformance.rpc.target import Target

HELP = """Judge behaviours of an earlier run again: same seed, same cases, same options, on machines leased now.

\b
  conformance replay out/events.ndjson FEN-3a
  conformance replay out/report.json FEN-3a LIF --target 127.0.0.1:9000
  conformance replay out/events.ndjson

RECORD is the events.ndjson or the report.json of a run, ID an id, a clause, an area or a glob. Without any, all that
did not pass is judged again. The target is the one of that run unless another one is given; credentials are in no
record, so they have to be given again. Machine ids and tokens are new, as marks outlive a run (FEN-12).

At the end a line says of each behaviour whether it happened again. Exit codes are those of `conformance run`.
"""


@click.command("replay", help=HELP)
@click.argument("record", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("behaviours", metavar="[ID]...", nargs=-1, shell_complete=completion.patterns)
@target_options
@click.option("--max-creates", type=click.IntRange(0), metavar="N", help="Start at most so many machines in all.")
@click.option("--keep", is_flag=True, help="Leave machines as they are at the end, for debugging; sweep them later.")
@click.option(
    "--report-dir", type=click.Path(path_type=Path, file_okay=False), help="Write the report of the replay here."
)
@click.option("-q", "--quiet", is_flag=True, help="Only failures and the closing lines.")
@click.option("-v", "--verbose", is_flag=True, help="Every call of every behaviour.")
@click.option("--color/--no-color", default=None, help="Colours. [default: as the terminal is]")
@reporting_errors()
def replay_command(record: Path, behaviours: tuple[str, ...], **given: Any) -> None:
    """Judge behaviours of an earlier run again."""
    from conformance.core import catalogue
    from conformance.core.text import printable
    from conformance.engine.replay import comparison_lines, select_ids
    from conformance.frontends.cli.commands.run import execute
    from conformance.frontends.settings import Settings, version
    from conformance.lanes.records import read
    from conformance.results import evidence

    before = read(record)
    if before.figures is not None:
        raise UsageError(
            f"that was a run of the {before.figures.lane} lane: no behaviour of it can be judged by itself",
            hint=f"run it again: {evidence.rerun_lane(before, before.figures)}",
        )
    target = _target(before, given)
    directory: Path | None = given["report_dir"] if _typed("report_dir") else None
    if directory is not None and directory.resolve() == record.parent.resolve():
        raise UsageError("--report-dir is where the record lies", hint="give another directory, or none")
    settings = Settings(
        target=target,
        select=select_ids(before, catalogue.patterns(behaviours), catalogue.load()),
        options=_options(before, given, fake=target is None),
        report_dir=directory,
        quiet=given["quiet"],
        verbose=given["verbose"],
        color=given["color"],
    )
    if before.version and before.version != version():
        click.echo(f"note       that run was made by kit {printable(before.version)}, this is {version()}", err=True)

    def tell(now: Report) -> None:
        for line in comparison_lines(before, now):
            click.echo(printable(line))

    sys.exit(execute(settings, tell=tell))


def _typed(name: str) -> bool:
    """Returns whether an option was given to this command: the run's options outrank a configuration file."""
    return click.get_current_context().get_parameter_source(name) in (
        ParameterSource.COMMANDLINE,
        ParameterSource.ENVIRONMENT,
    )


def _target(before: Report, given: dict[str, Any]) -> Target | None:
    """Returns the target of the replay; None for the embedded fake. Raises UsageError if credentials are missing."""
    if not _typed("target"):
        if before.asked.fake:
            return None
        tls = before.found is not None and before.found.tls
        if tls and not (given["tls_ca"] or given["tls_cert"]):
            raise UsageError("that run dialled its target with TLS", hint="give --tls-ca again, or another --target")
        absent = [n for n in before.asked.headers if n not in {h.partition("=")[0].lower() for h in given["header"]}]
        if absent:
            raise UsageError(
                f"that run sent the header {absent[0]!r}, whose value is in no record",
                hint=f"give --header {absent[0]}=… again, or another --target",
            )
        given = {**given, "target": before.target, "server_name": given["server_name"] or before.asked.server_name}
    return target_from(**given)


def _options(before: Report, given: dict[str, Any], *, fake: bool) -> Options:
    """Returns the options of the run, with those that are given again."""
    from conformance.core.timeouts import parse_duration, parse_patience
    from conformance.engine.options import Limits, Options, RunInfo, Timeouts
    from conformance.frontends.settings import version
    from conformance.rpc.faults.spec import parse_faults

    asked = before.asked
    timeouts = Timeouts(
        patience=parse_patience(given["patience"]) if _typed("patience") else asked.patience,
        rpc=parse_duration(given["rpc_timeout"]) if _typed("rpc_timeout") else asked.rpc_timeout,
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
        faults=parse_faults(asked.faults),
        info=RunInfo(version=version(), whole=False, fake=fake),
    )
