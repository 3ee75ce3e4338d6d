"""`conformance plan`: what a run would do, cost and take, from a look at the target and a dry run."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conformance.core.errors import UsageError
from conformance.frontends.cli.commands.run import settings_from
from conformance.frontends.cli.errors import reporting_errors
from conformance.frontends.cli.options import run_options, target_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.core.lifecycle import Verb
    from conformance.frontends.settings import Settings
    from conformance.reporters.plan_text import Planned
    from conformance.results.target_info import TargetInfo

HELP = """Say what a run would do at a target, and touch nothing there.

\b
  conformance plan --target 127.0.0.1:9000
  conformance plan --target 127.0.0.1:9000 --measured out/report.json
  conformance plan --target cloud:443 --tls-ca ca.pem --latency create=90s,configure=30s,drain=20s,delete=40s

Takes the options of `conformance run`, and prints what would run, what would be skipped and why, the machines that it
would create and have at once, and what that takes and costs. The target is only looked at, as a run does before it
starts. Figures come from a dry run on the embedded fake, given the target's shape, prices and tempo, on a clock that
leaps over every wait.

\b
Exit codes:
  0  planned
  2  usage or configuration
  3  the target cannot be judged: unreachable, too few machines
"""


@click.command("plan", help=HELP)
@target_options
@run_options
@click.option(
    "--measured",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A report.json or events.ndjson of an earlier run: how long transitions took there.",
)
@click.option(
    "--latency", metavar="L", help="How long transitions take: 60s, or create=60s,drain=10s. Goes before --measured."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@reporting_errors()
def plan_command(measured: Path | None, latency: str | None, form: str, **given: Any) -> None:
    """Say what a run would do at a target, and touch nothing there."""
    from conformance.reporters import plan_text as rendered

    settings = settings_from(**given)
    if not settings.lane.needs_plan:
        raise UsageError(
            f"the {settings.lane.name} lane has no plan",
            hint="--max-machines N and --max-creates N limit what it starts",
        )
    transitions = tempo_from(measured, latency)
    planned = plan_for(settings, transitions)
    click.echo(rendered.render(planned) if form == "json" else "\n".join(rendered.text(planned)), nl=form == "text")


def tempo_from(measured: Path | None, latency: str | None) -> dict[Verb, tuple[float, str]]:
    """Returns the known durations of transitions by verb: seconds, and the source. Raises UsageError."""
    from conformance.core.lifecycle import Verb
    from conformance.core.timeouts import parse_durations

    known: dict[Verb, tuple[float, str]] = {}
    if measured is not None:
        from conformance.lanes.records import read

        took = read(measured).took
        if not took:
            raise UsageError(
                f"--measured {measured}: no transition was seen to its end in that run",
                hint="give a run that ended, or say by hand how long they take: --latency create=60s,…",
            )
        known = {verb: (took[verb.value], f"measured in {measured}") for verb in Verb if verb.value in took}
    if latency is not None:
        known |= {verb: (seconds, "--latency") for verb, seconds in parse_durations(latency, what="latency").items()}
    return {verb: known[verb] for verb in Verb if verb in known}


def plan_for(settings: Settings, transitions: Mapping[Verb, tuple[float, str]]) -> Planned:
    """Looks at the target and runs dry what would run there. Raises TargetError if no run could start."""
    import asyncio

    from conformance.core.lifecycle import Verb
    from conformance.engine import preflight
    from conformance.engine.dry_run import TargetSpeed, dry_run
    from conformance.frontends import collection
    from conformance.frontends.runner import EMBEDDED
    from conformance.reporters.plan_text import Planned

    chosen, options = collection.selected(settings.select, settings.exclude), settings.options
    found, call, address = asyncio.run(_look(settings))
    if settings.target is None:
        transitions = dict.fromkeys(Verb, (EMBEDDED, "as the fake is served")) | dict(transitions)
    transitions = {verb: known for verb, known in transitions.items() if verb is not Verb.DELETE or found.delete}
    slots, limits = len(found.speculative) + (len(found.idle) if options.use_idle else 0), options.limits
    preflight.check_size(chosen, found, slots=slots, use_idle=options.use_idle, max_machines=limits.max_machines)
    lacking = {b.id: preflight.missing_capability(b, found) for b in chosen}
    speed = TargetSpeed(transitions={verb: seconds for verb, (seconds, _) in transitions.items()}, call=call)
    applicable = tuple(b for b in chosen if lacking[b.id] is None)
    return Planned(
        target=address,
        found=found,
        behaviours=tuple(b.entry for b in applicable),
        skipped=tuple((b.entry, preflight.SKIP_REASONS[lack]) for b in chosen if (lack := lacking[b.id]) is not None),
        lacking=tuple(name for name in options.require if not found.has(name)),
        machines=preflight.pool_size(chosen, slots=slots, jobs=limits.jobs, max_machines=limits.max_machines),
        transitions=transitions,
        call=call,
        dry=dry_run(applicable, found, speed=speed, options=options),
    )


async def _look(settings: Settings) -> tuple[TargetInfo, float, str]:
    """Returns what was found at the target, how many seconds a call took, and its address."""
    import secrets
    import statistics

    from conformance.fleet.probe import connect, probe
    from conformance.frontends.runner import embedded
    from conformance.frontends.settings import FAKE
    from conformance.results.redaction import Redactor
    from conformance.rpc.call import CallLog, recording
    from conformance.rpc.client import Client
    from conformance.rpc.target import Target

    async with AsyncExitStack() as stack:
        target = settings.target or Target(address=await stack.enter_async_context(embedded()))
        discretion = Redactor(target.headers)
        stack.enter_context(discretion.errors())
        client = Client(target, rpc_timeout=settings.options.timeouts.rpc)
        stack.push_async_callback(client.close)
        await connect(client, timeout=settings.options.timeouts.connect)
        with recording(CallLog()) as log:
            found = discretion.found(await probe(client, run=f"cpc-{secrets.token_hex(4)}"))
    # The first calls run beside a List of the whole fleet; the last ones run alone.
    call = statistics.median(call.ended - call.started for call in log.calls[-3:])
    return found, call, FAKE if settings.target is None else target.address
