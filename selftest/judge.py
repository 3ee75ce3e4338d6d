"""The suite, run against one provider in this process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance import catalogue, engine, plan
from conformance.patience import Patience
from conformance.shortcut import shortcut
from conformance.target import Target
from fake_provider.server import serving
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.report import Report
    from fake_provider.core import Core
    from selftest.mutant import Mutant
    from selftest.variants import Variant

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
    short: bool = False,
) -> Report:
    """The report on a provider that lives only for this run. `short`: its RPCs are reached without a socket."""
    known = catalogue.load()
    chosen = plan.plan(known, plan.functions(), (entry.id for entry in known.select(select, ())))
    made: list[Servicer] = []

    def seen(core: Core, **given: Any) -> Servicer:
        made.append(servicer(core, **given))
        return made[-1]

    with tempfile.TemporaryDirectory() as directory:
        async with serving(core, servicer=seen, rpc_delay=rpc_delay, health=health, reflection=reflection) as address:
            return await engine.run(
                chosen,
                shortcut(made[0], address) if short else Target(address=address),
                options=options or engine.Options(patience=IMPATIENT, rpc_timeout=5.0, connect_timeout=2.0, seed=seed),
                ledger_at=lambda run: Path(directory) / f"{run}.ndjson",
            )


async def judge_mutant(mutant: Mutant, *, select: Sequence[str] = (), seed: int = 0) -> Report:
    """The report on a mutant, over TCP."""
    return await judge(mutant.provider(), select=select, seed=seed, servicer=mutant.servicer)


async def judge_wholly(mutant: Mutant, *, seed: int = 0) -> Report:
    """The report of the whole suite on a mutant, without a socket unless what it does wrong shows on the wire only."""
    return await judge(
        mutant.provider(),
        select=mutant.found_by if mutant.alone else (),
        seed=seed,
        servicer=mutant.servicer,
        short=not mutant.tcp,
    )


async def judge_variant(variant: Variant, *, select: Sequence[str] = (), seed: int = 0, short: bool = False) -> Report:
    """The report on a variant."""
    return await judge(
        variant.provider(),
        select=select,
        seed=seed,
        servicer=variant.servicer,
        options=variant.run_options(seed),
        short=short,
        **variant.serving,
    )
