"""`conformance plan`: what a run would do, cost and take, from a look at the target and a dry run."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conformance.console import reporting_errors
from conformance.errors import UsageError
from conformance.options import run_options, target_options
from conformance.run_command import settings_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.found import Found
    from conformance.lifecycle import Verb
    from conformance.reporters.planned import Planned
    from conformance.settings import Settings

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
    from conformance.reporters import planned as rendered

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
    from conformance.lifecycle import Verb
    from conformance.patience import parse_durations

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

    from conformance import fit, plan
    from conformance.dryrun import Tempo, dry_run
    from conformance.lifecycle import Verb
    from conformance.loop import EMBEDDED
    from conformance.reporters.planned import Planned

    chosen, options = plan.selected(settings.select, settings.exclude), settings.options
    found, call, address = asyncio.run(_look(settings))
    if settings.target is None:
        transitions = dict.fromkeys(Verb, (EMBEDDED, "as the fake is served")) | dict(transitions)
    transitions = {verb: known for verb, known in transitions.items() if verb is not Verb.DELETE or found.delete}
    slots = len(found.speculative) + (len(found.idle) if options.use_idle else 0)
    fit.check_size(chosen, found, slots=slots, use_idle=options.use_idle, max_machines=options.max_machines)
    lacking = {b.id: fit.missing(b, found) for b in chosen}
    tempo = Tempo(transitions={verb: seconds for verb, (seconds, _) in transitions.items()}, call=call)
    applicable = tuple(b for b in chosen if lacking[b.id] is None)
    return Planned(
        target=address,
        found=found,
        behaviours=tuple(b.entry for b in applicable),
        skipped=tuple((b.entry, fit.LACKS[lack]) for b in chosen if (lack := lacking[b.id]) is not None),
        lacking=tuple(name for name in options.require if not found.has(name)),
        machines=fit.breadth(chosen, slots=slots, jobs=options.jobs, max_machines=options.max_machines),
        transitions=transitions,
        call=call,
        dry=dry_run(applicable, found, tempo=tempo, options=options),
    )


async def _look(settings: Settings) -> tuple[Found, float, str]:
    """Returns what was found at the target, how many seconds a call took, and its address."""
    import secrets
    import statistics

    from conformance.call import CallLog, recording
    from conformance.client import Client
    from conformance.discretion import Discretion
    from conformance.loop import embedded
    from conformance.probe import connect, look
    from conformance.settings import FAKE
    from conformance.target import Target

    async with AsyncExitStack() as stack:
        target = settings.target or Target(address=await stack.enter_async_context(embedded()))
        discretion = Discretion(target.headers)
        stack.enter_context(discretion.errors())
        client = Client(target, rpc_timeout=settings.options.rpc_timeout)
        stack.push_async_callback(client.close)
        await connect(client, timeout=settings.options.connect_timeout)
        with recording(CallLog()) as log:
            found = discretion.found(await look(client, run=f"cpc-{secrets.token_hex(4)}"))
    # The first calls run beside a List of the whole fleet; the last ones run alone.
    call = statistics.median(call.ended - call.started for call in log.calls[-3:])
    return found, call, FAKE if settings.target is None else target.address
