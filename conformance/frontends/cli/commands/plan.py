"""`conformance plan`: estimates what a run would do, cost and take, by probing the target and a dry run."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conformance.core.errors import UsageError
from conformance.frontends.cli.errors import reporting_errors
from conformance.frontends.cli.one_run import settings_from
from conformance.frontends.cli.options import SectionedCommand, run_options, target_options

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from conformance.core.lifecycle import Verb
    from conformance.engine.options import Options
    from conformance.frontends.settings import Settings
    from conformance.reporters.plan_text import Planned
    from conformance.results.report import Report
    from conformance.results.target_info import TargetInfo
    from conformance.rpc.target import Target

HELP = """Show what a run would do and cost, without changing anything at the target.

\b
Examples:
  conformance plan --target 127.0.0.1:9000
  conformance plan --target 127.0.0.1:9000 --measured out/report.json
  conformance plan --target cloud:443 --tls-ca ca.pem --latency create=90s
  conformance plan --target 127.0.0.1:9000 --lane all

Prints the behaviours that would run, those that would be skipped and why, the number of machines to create and to
have at the same time, the duration and the cost. The options are those of `conformance run`.

The target is only probed with calls that change nothing, as at the start of a run. The figures come from a dry run on
the embedded fake, with the machines, prices and latencies of the target, on a virtual clock. With --lane all, the
plan has a row for each lane, with its creates, machines, restarts of the provider and time, and the sum of them.

\b
Exit codes:
  0  the plan was printed
  2  usage error: an invalid option, configuration or file
  3  the target cannot be judged: it is unreachable or has too few machines
"""


@click.command(
    "plan", cls=SectionedCommand, help=HELP, short_help="Show what a run would do and cost, without changing anything."
)
@target_options
@run_options
@click.option(
    "--measured",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Assume the latencies of transitions that were measured in an earlier run, given by its report.json or "
    "events.ndjson.",
)
@click.option(
    "--latency",
    metavar="L",
    help="Assume these latencies of transitions: a duration such as 60s for all, or one for each verb, such as "
    "create=60s,drain=10s. Takes precedence over --measured.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@reporting_errors()
def plan_command(measured: Path | None, latency: str | None, form: str, **given: Any) -> None:
    """Shows what a run would do and cost."""
    from conformance import lanes
    from conformance.frontends.cli import all_lanes
    from conformance.reporters import plan_text

    transitions = latencies_from(measured, latency)
    if given["lane"] != lanes.ALL:
        settings = settings_from(**given)
        planned = plan_for(settings, transitions, probed(settings))
        shown = plan_text.render(planned) if form == "json" else "\n".join(plan_text.text(planned))
    else:
        each = all_lanes.settings_from(**given)
        target = probed(each[0])
        plans = {settings.lane.name: plan_for(settings, transitions, target) for settings in each}
        shown = plan_text.render_all(plans) if form == "json" else "\n".join(plan_text.text_all(plans))
    click.echo(shown, nl=form == "text")


def latencies_from(measured: Path | None, latency: str | None) -> dict[Verb, tuple[float, str]]:
    """Returns the known latencies of transitions by verb: seconds, and the source. Raises UsageError."""
    from conformance.core.lifecycle import Verb
    from conformance.core.timeouts import parse_durations

    known: dict[Verb, tuple[float, str]] = {}
    if measured is not None:
        from conformance.lanes.records import read

        took = read(measured).took
        if not took:
            raise UsageError(
                f"--measured {measured}: that run observed no complete transition",
                hint="use a run that finished, or set the latencies: --latency create=60s,…",
            )
        known = {verb: (took[verb.value], f"measured in {measured}") for verb in Verb if verb.value in took}
    if latency is not None:
        known |= {verb: (seconds, "--latency") for verb, seconds in parse_durations(latency, what="latency").items()}
    return {verb: known[verb] for verb in Verb if verb in known}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The properties of a probed target, the median seconds of a call, and the address of the target."""

    found: TargetInfo
    call: float
    address: str


def probed(settings: Settings) -> Probed:
    """Probes the target with calls that change nothing. Raises TargetError if it cannot be reached."""
    import asyncio

    found, call, address = asyncio.run(_probe(settings))
    return Probed(found=found, call=call, address=address)


def plan_for(settings: Settings, transitions: Mapping[Verb, tuple[float, str]], target: Probed) -> Planned:
    """Makes a dry run of the plan of a lane. Raises TargetError if no run could start."""
    from conformance.core.lifecycle import Verb
    from conformance.core.stop import Stop
    from conformance.engine import preflight
    from conformance.engine.dry_run import TargetSpeed, dry_run
    from conformance.fleet.control import ReplicaCommand
    from conformance.frontends import collection
    from conformance.frontends.provided import FAKE_LATENCY_S
    from conformance.lanes.protocol import LaneRun
    from conformance.reporters.plan_text import Planned

    chosen, options, found = collection.chosen(settings), settings.options, target.found
    if settings.target is None:
        transitions = dict.fromkeys(Verb, (FAKE_LATENCY_S, "the embedded fake")) | dict(transitions)
    transitions = {verb: known for verb, known in transitions.items() if verb is not Verb.DELETE or found.delete}
    slots, limits = len(found.speculative) + (len(found.idle) if options.use_idle else 0), options.limits
    control = settings.control
    means = preflight.means(
        restarts=control.provider is not None,
        next_version=control.next_version is not None,
        replicas=isinstance(control.provider, ReplicaCommand),
        backend=control.hosts is not None,
    )
    preflight.check_size(
        chosen, found, slots=slots, use_idle=options.use_idle, max_machines=limits.max_machines, means=means
    )
    lacking = {b.id: preflight.missing_capability(b, found, means) for b in chosen}
    speed = TargetSpeed(transitions={verb: seconds for verb, (seconds, _) in transitions.items()}, call=target.call)
    applicable = tuple(b for b in chosen if lacking[b.id] is None)

    def judge(target: Target, options: Options, ledger_at: Callable[[str], Path]) -> Coroutine[Any, Any, Report]:
        run = LaneRun(target=target, options=options, ledger_at=ledger_at, emit=lambda event: None, stop=Stop())
        return settings.lane.run(settings.lane_settings, run)

    dry = dry_run(
        applicable,
        found,
        speed=speed,
        options=options,
        settings=settings.lane_settings,
        judge=None if chosen else judge,
    )
    machines = preflight.pool_size(chosen, slots=slots, jobs=limits.jobs, max_machines=limits.max_machines)
    return Planned(
        target=target.address,
        found=found,
        behaviours=tuple(b.entry for b in applicable) if chosen else settings.lane.entries(),
        skipped=tuple((b.entry, preflight.SKIP_REASONS[lack]) for b in chosen if (lack := lacking[b.id]) is not None),
        lacking=tuple(name for name in options.require if not found.has(name)),
        machines=machines if chosen else dry.bill.peak_machines,
        transitions=transitions,
        call=target.call,
        dry=dry,
    )


async def _probe(settings: Settings) -> tuple[TargetInfo, float, str]:
    """Returns the capabilities of the target, the median latency of a call in seconds, and the target's address."""
    import secrets
    import statistics

    from conformance.fleet.probe import connect, probe
    from conformance.frontends.provided import provided
    from conformance.frontends.settings import FAKE
    from conformance.results.redaction import Redactor
    from conformance.rpc.call import CallLog, recording
    from conformance.rpc.client import Client

    async with AsyncExitStack() as stack:
        given = await stack.enter_async_context(provided(settings, directory=None))
        target, control = given.target, given.control
        redactor = Redactor(target.headers)
        stack.enter_context(redactor.errors())
        if control.provider is not None:
            await control.provider.start()
        client = Client(target, rpc_timeout=settings.options.timeouts.rpc)
        stack.push_async_callback(client.close)
        await connect(client, timeout=settings.options.timeouts.connect)
        with recording(CallLog()) as log:
            found = redactor.found(await probe(client, run=f"cpc-{secrets.token_hex(4)}"))
    # Only the last calls: the first ones run concurrently with a List of the whole fleet.
    call = statistics.median(call.ended - call.started for call in log.calls[-3:])
    return found, call, FAKE if settings.target is None else target.address
