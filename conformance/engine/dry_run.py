"""Runs a plan without touching the target: on a fake of the target's shape, on a virtual clock.

The real engine runs, with its own choices, polls and windows, so creates, peak and time are counted, not guessed.
Behaviours that judge TLS are left out, which the fake does not have: they need no machine, and hardly any time.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from conformance.core.lifecycle import Verb
from conformance.core.virtual_clock import VirtualClockLoop, virtual_clock
from conformance.engine import run as engine_run
from conformance.engine.options import RunInfo
from conformance.fleet.probe import DOOMED
from conformance.rpc.in_process import in_process_target
from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fence import Scope
from fake_provider.fleet import fleet
from fake_provider.latency import Latency, Span
from fake_provider.machine import CapacityType
from fake_provider.server import serving
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    import grpc.aio

    from conformance.engine.options import Options
    from conformance.results.report import Report
    from conformance.results.target_info import TargetInfo
    from conformance.rpc.target import Target
    from conformance.testkit.behaviour import Plan
    from fake_provider.machine import Machine

    Judging: TypeAlias = Callable[[Target, Options, Callable[[str], Path]], Coroutine[Any, Any, Report]]

KIT_SECONDS_PER_CALL: Final = 0.0006
"""The approximate time of the kit's own work for one call: measured by `make bench` on two slow cores."""
UNKNOWN_TRANSITION_SECONDS: Final = 0.05
"""The duration of an unknown transition: short, so that an estimate is never too high."""
MAX_SLOTS: Final = 512
"""Maximum number of slots in a dry run: a run of the whole suite keeps less than a fifth of them busy."""
MAX_FAULTY: Final = 3
"""Maximum number of slots with the label that makes their Create fail: one for each of its values."""
TRANSPORT_CAPABILITIES: Final = frozenset({"tls", "client-certificate"})
"""Capabilities that the fake of a dry run does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpeed:
    """The speed of a target, in seconds: the known transitions by verb, and the round trip of one call."""

    transitions: Mapping[Verb, float] = field(default_factory=dict)
    call: float = 0.0

    @property
    def unknown(self) -> tuple[Verb, ...]:
        """The verbs whose transitions have an unknown duration."""
        return tuple(verb for verb in Verb if verb not in self.transitions)


def dry_run(
    plan: Plan,
    found: TargetInfo,
    *,
    speed: TargetSpeed,
    options: Options,
    settings: object = None,
    judge: Judging | None = None,
) -> Report:
    """Returns the report of a run of `plan`, as it would be at a conformant target of this shape and speed.

    The results are the fake's: use only which behaviours were judged, the bill and the time. `judge` runs instead of
    the engine, for a lane without a plan. Raises TargetError if there are too few machines.
    """
    without_tls = tuple(b for b in plan if not TRANSPORT_CAPABILITIES.intersection(b.entry.needs))
    return run_on_virtual_clock(
        without_tls,
        fake_like(found, speed),
        options=replace(options, keep=False, faults=(), info=RunInfo()),
        settings=settings,
        judge=judge,
        rpc_delay=speed.call,
        health=found.health is not None,
        reflection=found.reflection,
    )


def run_on_virtual_clock(
    plan: Plan,
    core: Core,
    *,
    options: Options,
    servicer: type[Servicer] = Servicer,
    settings: object = None,
    judge: Judging | None = None,
    **server_options: Any,
) -> Report:
    """Returns the report of a run on a provider in this process, on a virtual clock that skips all waits.

    The load of this computer does not show in the times.
    """
    report: Report = virtual_clock(_run(plan, core, options, servicer, settings, judge, server_options))
    return report


async def _run(
    plan: Plan,
    core: Core,
    options: Options,
    servicer: type[Servicer],
    settings: object,
    judge: Judging | None,
    server_options: Mapping[str, Any],
) -> Report:
    loop = cast("VirtualClockLoop", asyncio.get_running_loop())
    servicers: list[Servicer] = []

    class TimedServicer(servicer):  # type: ignore[valid-type, misc]
        """Answers as usual, after the time of the kit's own work for the call."""

        async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
            loop.spend(KIT_SECONDS_PER_CALL)
            return await super().answer(context, work)

    def timed_servicer(core: Core, **options: Any) -> Servicer:
        servicers.append(TimedServicer(core, **options))
        return servicers[-1]

    with tempfile.TemporaryDirectory() as directory:
        async with serving(core, clock=loop.time, servicer=timed_servicer, **server_options) as address:
            target = in_process_target(servicers[0], address, wrap_channel=lambda channel: _TcpChannel(channel, loop))

            def ledger_at(run: str) -> Path:
                return Path(directory) / f"{run}.ndjson"

            if judge is not None:
                return await judge(target, options, ledger_at)
            return await engine_run.run(
                plan,
                target,
                options=options,
                ledger_at=ledger_at,
                durable=False,
                provider=_Lasting(address) if any(behaviour.needs.restarts for behaviour in plan) else None,
                settings=settings,
            )


class _Lasting:
    """The provider of a dry run: it keeps its state in every restart, which takes no time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.running = True
        self.death = ""
        self.can_upgrade = True

    def upgrade(self) -> None:
        """Runs the newer version from now on, which is the same."""
        self.can_upgrade = False

    async def start(self, *, wait: bool = True) -> None:
        """Runs again."""
        self.running = True

    async def kill(self) -> None:
        """Runs no more."""
        self.running = False

    async def stop(self) -> float:
        """Runs no more; returns the seconds that it took."""
        self.running = False
        return 0.0

    async def close(self) -> None:
        """Does nothing."""


def fake_like(found: TargetInfo, speed: TargetSpeed) -> Core:
    """Returns a conformant provider of the target's shape: free machines, capabilities, and the average price."""
    spans = {verb: speed.transitions.get(verb, UNKNOWN_TRANSITION_SECONDS) for verb in Verb}
    return Core(
        list(_fleet(found)),
        latency=Latency(**{verb.value.lower(): Span(low=seconds, high=seconds) for verb, seconds in spans.items()}),
        scope=Scope(found.fence_scope or Scope.SHARD_MACHINE),
        deletes=found.delete,
        revisions=found.revisions,
        faults=Faults(),
    )


def _fleet(found: TargetInfo) -> Iterator[Machine]:
    slots, idle = len(found.speculative), len(found.idle)
    price = statistics.fmean(found.prices) if found.prices else 0.0
    types = () if found.spot else (CapacityType.ON_DEMAND,)
    faulty = min(MAX_FAULTY, found.unusable.get(DOOMED, 0))
    count = min(MAX_SLOTS, slots) + min(MAX_SLOTS, idle)
    for machine in fleet(count, idle=min(MAX_SLOTS, idle), capacity_types=types, faulty=faulty):
        yield replace(machine, price_per_hour=max(0.0, price), zone=machine.zone if found.zones else "")


class _TcpChannel:
    """A channel over TCP. The virtual clock stands still during its calls."""

    def __init__(self, channel: grpc.aio.Channel, loop: VirtualClockLoop) -> None:
        self._channel, self._loop = channel, loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def channel_ready(self) -> None:
        with self._loop.external_wait():
            await self._channel.channel_ready()

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._holding_clock(self._channel.unary_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._holding_clock(self._channel.stream_stream(*arguments, **options))

    def _holding_clock(self, method: Any) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            rpc = method(*arguments, **options)
            self._loop.begin_external_wait()
            rpc.add_done_callback(self._loop.end_external_wait)
            return rpc

        return call
