"""Runs the durability lane against one provider in this process, which the lane kills and starts again."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance import lanes
from conformance.core.timeouts import Patience
from conformance.engine import run as engine_run
from conformance.engine.options import Options, RunInfo, Timeouts
from conformance.lanes.durability import LANE
from conformance.rpc.target import Target
from conformance.testkit import plans
from selftest.restartable import RestartableProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.fleet.backend import Backend
    from conformance.fleet.provider import Provider
    from conformance.lanes.protocol import Lane
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Plan
    from fake_provider.core import Core
    from fake_provider.store import Store

SHORT_PATIENCE = Patience(3.0, 3.0, 3.0, 3.0)


def plan_of(select: Sequence[str] = (), *, lane: Lane[Any] = LANE) -> Plan:
    """Returns the chosen behaviours of the lane; all of them if none is chosen."""
    known = lanes.catalogue_of(lane)
    return plans.among(lane.plan(None), known, (entry.id for entry in known.select(select, ())))


def options_of(seed: int, *, lane: Lane[Any] = LANE) -> Options:
    """Returns the options of a run against a provider in this process."""
    return Options(
        seed=seed,
        timeouts=Timeouts(patience=SHORT_PATIENCE, rpc=5.0, connect=5.0),
        info=RunInfo(coverage=lanes.kit_coverage(lane.name)),
        catalogue=lanes.whole_catalogue(),
        rng=random.Random(seed),
    )


async def judge(
    core: Callable[[Store], Core],
    *,
    select: Sequence[str] = (),
    seed: int = 0,
    lane: Lane[Any] = LANE,
    backend: Backend | None = None,
    options: Options | None = None,
    **serving: Any,
) -> Report:
    """Returns the lane's report on the provider that `core` makes from its store at each start."""
    provider = RestartableProvider(core, **serving)
    return await judge_provider(provider, select=select, seed=seed, lane=lane, backend=backend, options=options)


async def judge_provider(
    provider: Provider,
    *,
    select: Sequence[str] = (),
    seed: int = 0,
    lane: Lane[Any] = LANE,
    backend: Backend | None = None,
    options: Options | None = None,
    settings: object = None,
) -> Report:
    """Returns the report of a lane on a provider, which is started for it, and closed afterwards."""
    try:
        await provider.start()
        with tempfile.TemporaryDirectory() as directory:
            return await engine_run.run(
                plan_of(select, lane=lane),
                Target(address=provider.address),
                options=options or options_of(seed, lane=lane),
                ledger_at=lambda run: Path(directory) / f"{run}.ndjson",
                provider=provider,
                backend=backend,
                settings=settings,
            )
    finally:
        await provider.close()
