"""The suite, run against one provider in this process."""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.core import catalogue
from conformance.core.timeouts import Patience
from conformance.engine import run as engine_run
from conformance.engine.dry_run import run_on_virtual_clock
from conformance.engine.options import Options, Timeouts
from conformance.frontends import collection
from conformance.rpc.in_process import in_process_target
from conformance.rpc.target import Target
from fake_provider.server import serving
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.report import Report
    from conformance.testkit.behaviour import Plan
    from fake_provider.core import Core
    from selftest.mutant import Mutant
    from selftest.variants import Variant

IMPATIENT = Patience(2.0, 2.0, 2.0, 2.0)
"""A mutant that gets stuck is stuck for good: no need to wait minutes to see it."""


def plan_of(select: Sequence[str], skip: Sequence[str] = ()) -> Plan:
    """The behaviours that are selected and not skipped; all of them where none is."""
    known = catalogue.load()
    return collection.plan(known, collection.functions(), (entry.id for entry in known.select(select, skip)))


def options_of(seed: int) -> Options:
    """How a mutant is judged: the same way each time."""
    return Options(seed=seed, timeouts=Timeouts(patience=IMPATIENT, rpc=5.0, connect=2.0), rng=random.Random(seed))


async def judge(
    core: Core,
    *,
    select: Sequence[str] = (),
    seed: int = 0,
    servicer: type[Servicer] = Servicer,
    options: Options | None = None,
    rpc_delay: float = 0.0,
    health: bool = True,
    reflection: bool = True,
    short: bool = False,
) -> Report:
    """The report on a provider that lives only for this run. `short`: its RPCs are reached without a socket."""
    made: list[Servicer] = []

    def seen(core: Core, **given: Any) -> Servicer:
        made.append(servicer(core, **given))
        return made[-1]

    with tempfile.TemporaryDirectory() as directory:
        async with serving(core, servicer=seen, rpc_delay=rpc_delay, health=health, reflection=reflection) as address:
            return await engine_run.run(
                plan_of(select),
                in_process_target(made[0], address) if short else Target(address=address),
                options=options or options_of(seed),
                ledger_at=lambda run: Path(directory) / f"{run}.ndjson",
            )


async def judge_mutant(mutant: Mutant, *, select: Sequence[str] = (), seed: int = 0) -> Report:
    """The report on a mutant, over TCP."""
    return await judge(mutant.provider(), select=select, seed=seed, servicer=mutant.servicer)


def leapt_mutant(mutant: Mutant, *, select: Sequence[str] = (), skip: Sequence[str] = (), seed: int = 0) -> Report:
    """The report on a mutant, by a clock that leaps, so that it is the same each time."""
    options = options_of(seed)
    return run_on_virtual_clock(plan_of(select, skip), mutant.provider(), options=options, servicer=mutant.servicer)


def seen_mutant(mutant: Mutant, *, select: Sequence[str] = (), seed: int = 0) -> Report:
    """The report on a mutant where what it does wrong can be seen: over TCP if need be, else by a clock that leaps."""
    if mutant.tcp:
        return asyncio.run(judge_mutant(mutant, select=select, seed=seed))
    return leapt_mutant(mutant, select=select, seed=seed)


BY_SOCKET = ("WIR-3b", "WIR-3c", "WIR-3f", "WIR-4*", "WIR-6*")
"""Who needs a socket also where the clock leaps: how long that takes is the machine's affair, and nobody else's."""


def judge_wholly(mutant: Mutant, *, seed: int = 0) -> Report:
    """The report of the whole suite on a mutant; those who need a socket have a run of their own."""
    if mutant.alone:
        return seen_mutant(mutant, select=mutant.found_by, seed=seed)
    by_socket = (*BY_SOCKET, *mutant.found_by) if mutant.tcp else BY_SOCKET
    most = leapt_mutant(mutant, skip=by_socket, seed=seed)
    rest = seen_mutant(mutant, select=by_socket, seed=seed)
    known = catalogue.load()
    # As in one run: each rests on what it rests on, whichever run judged that.
    return replace(most, results=tuple(replace(r, entry=known[r.id]) for r in most.results + rest.results))


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


def leapt_variant(variant: Variant, *, select: Sequence[str] = (), seed: int = 0) -> Report:
    """The report on a variant, by a clock that leaps."""
    return run_on_virtual_clock(
        plan_of(select),
        variant.provider(),
        options=variant.run_options(seed),
        servicer=variant.servicer,
        **variant.serving,
    )
