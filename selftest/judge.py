"""The suite, run against one provider in this process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conformance import catalogue, engine, plan
from conformance.patience import Patience
from conformance.target import Target
from fake_provider.server import serving
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.report import Report
    from fake_provider.core import Core
    from selftest.mutant import Mutant

IMPATIENT = Patience(2.0, 2.0, 2.0, 2.0)
"""A mutant that gets stuck is stuck for good: no need to wait minutes to see it."""


async def judge(
    core: Core,
    *,
    select: Sequence[str] = (),
    seed: int = 0,
    servicer: type[Servicer] = Servicer,
    options: engine.Options | None = None,
    rpc_delay: float = 0.0,
    health: bool = True,
    reflection: bool = True,
) -> Report:
    """The report on a provider that lives only for this run."""
    known = catalogue.load()
    chosen = plan.plan(known, plan.functions(), (entry.id for entry in known.select(select, ())))
    with tempfile.TemporaryDirectory() as directory:
        async with serving(
            core, servicer=servicer, rpc_delay=rpc_delay, health=health, reflection=reflection
        ) as address:
            return await engine.run(
                chosen,
                Target(address=address),
                options=options or engine.Options(patience=IMPATIENT, rpc_timeout=5.0, connect_timeout=2.0, seed=seed),
                ledger_at=lambda run: Path(directory) / f"{run}.ndjson",
            )


async def judge_mutant(mutant: Mutant, *, select: Sequence[str] = (), seed: int = 0) -> Report:
    """The report on a mutant."""
    return await judge(mutant.provider(), select=select, seed=seed, servicer=mutant.servicer)
