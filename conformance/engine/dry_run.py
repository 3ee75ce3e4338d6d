"""Runs a plan without touching the target: on a fake of the target's shape, on a clock that leaps over every wait.

The real engine runs, with its own choices, polls and windows, so creations, peak and time are counted, not guessed.
What the fake cannot have is left out: behaviours that judge TLS need no machine, and hardly any time.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from conformance.core.lifecycle import Verb
from conformance.core.virtual_clock import VirtualClockLoop, virtual_clock
from conformance.engine import run as engine_run
from conformance.engine.options import RunInfo
from conformance.rpc.in_process import in_process_target
from fake_provider.core import Core
from fake_provider.fence import Scope
from fake_provider.fleet import fleet
from fake_provider.latency import Latency, Span
from fake_provider.machine import CapacityType
from fake_provider.server import serving
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import grpc.aio

    from conformance.engine.options import Options
    from conformance.results.report import Report
    from conformance.results.target_info import TargetInfo
    from conformance.testkit.behaviour import Plan
    from fake_provider.machine import Machine

WORK: Final = 0.0006
"""Approximate seconds of the kit's own work for one call: measured by `make bench` on two slow cores."""
UNKNOWN: Final = 0.05
"""Seconds for an unknown transition: short, so that an estimate is never too high."""
MOST: Final = 512
"""Maximum number of slots in a dry run: a run of the whole suite keeps less than a fifth of them busy."""
ON_THE_LINE: Final = frozenset({"tls", "client-certificate"})
"""Capabilities that the fake of a dry run does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """How fast the target is, in seconds: the known transitions by verb, and the round trip of one call."""

    transitions: Mapping[Verb, float] = field(default_factory=dict)
    call: float = 0.0

    @property
    def unknown(self) -> tuple[Verb, ...]:
        """The verbs whose transitions have an unknown duration."""
        return tuple(verb for verb in Verb if verb not in self.transitions)


def dry_run(plan: Plan, found: TargetInfo, *, tempo: Tempo, options: Options) -> Report:
    """Returns the report of a run of `plan`, as it would be at a conformant target of this shape and tempo.

    The results are the fake's: use only which behaviours were judged, the bill and the time. Raises TargetError if
    there are too few machines.
    """
    chosen = tuple(b for b in plan if not ON_THE_LINE.intersection(b.entry.needs))
    return leapt(
        chosen,
        stand_in(found, tempo),
        options=replace(options, keep=False, faults=(), info=RunInfo()),
        rpc_delay=tempo.call,
        health=found.health is not None,
        reflection=found.reflection,
    )


def leapt(plan: Plan, core: Core, *, options: Options, servicer: type[Servicer] = Servicer, **given: Any) -> Report:
    """Returns the report of a run on a provider in this process, by a clock that leaps: it waits for nothing.

    The load of this computer does not show in the times. `given` goes to the server.
    """
    report: Report = virtual_clock(_run(plan, core, options, servicer, given))
    return report


async def _run(plan: Plan, core: Core, options: Options, servicer: type[Servicer], given: Mapping[str, Any]) -> Report:
    loop = cast("VirtualClockLoop", asyncio.get_running_loop())
    made: list[Servicer] = []

    class Working(servicer):  # type: ignore[valid-type, misc]
        """Answers as usual, after the time that the kit itself needs for the call."""

        async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
            loop.spend(WORK)
            return await super().answer(context, work)

    def working(core: Core, **given: Any) -> Servicer:
        made.append(Working(core, **given))
        return made[-1]

    with tempfile.TemporaryDirectory() as directory:
        async with serving(core, clock=loop.time, servicer=working, **given) as address:
            return await engine_run.run(
                plan,
                in_process_target(made[0], address, line=lambda channel: _Foreign(channel, loop)),
                options=options,
                ledger_at=lambda run: Path(directory) / f"{run}.ndjson",
                durable=False,
            )


def stand_in(found: TargetInfo, tempo: Tempo) -> Core:
    """Returns a conformant provider of the target's shape: free machines, capabilities, and the average price."""
    spans = {verb: tempo.transitions.get(verb, UNKNOWN) for verb in Verb}
    return Core(
        list(_fleet(found)),
        latency=Latency(**{verb.value.lower(): Span(low=took, high=took) for verb, took in spans.items()}),
        scope=Scope(found.fence_scope or Scope.SHARD),
        deletes=found.delete,
        revisions=found.revisions,
    )


def _fleet(found: TargetInfo) -> Iterator[Machine]:
    slots, idle = len(found.speculative), len(found.idle)
    price = statistics.fmean(found.prices) if found.prices else 0.0
    types = () if found.spot else (CapacityType.ON_DEMAND,)
    for machine in fleet(min(MOST, slots) + min(MOST, idle), idle=min(MOST, idle), capacity_types=types):
        yield replace(machine, price_per_hour=max(0.0, price), zone=machine.zone if found.zones else "")


class _Foreign:
    """A channel over TCP. The leaping clock waits for its calls."""

    def __init__(self, channel: grpc.aio.Channel, loop: VirtualClockLoop) -> None:
        self._channel, self._loop = channel, loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def channel_ready(self) -> None:
        with self._loop.foreign():
            await self._channel.channel_ready()

    def unary_unary(self, *given: Any, **named: Any) -> Callable[..., Any]:
        return self._awaited(self._channel.unary_unary(*given, **named))

    def stream_stream(self, *given: Any, **named: Any) -> Callable[..., Any]:
        return self._awaited(self._channel.stream_stream(*given, **named))

    def _awaited(self, method: Any) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            made = method(*given, **named)
            self._loop.leave()
            made.add_done_callback(self._loop.come_back)
            return made

        return call
