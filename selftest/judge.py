"""Runs the suite against one provider in this process."""

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

SHORT_PATIENCE = Patience(2.0, 2.0, 2.0, 2.0)
"""In seconds. A mutant whose transition takes longer never ends it, so that waiting for minutes is useless."""


def plan_of(select: Sequence[str], skip: Sequence[str] = ()) -> Plan:
    """Returns the behaviours that are selected and not skipped; all of them if none is selected."""
    known = catalogue.load()
    return collection.plan(known, collection.functions(), (entry.id for entry in known.select(select, skip)))


def options_of(seed: int, *, hold: float = 0.0) -> Options:
    """Returns the options of a run against a mutant: the same for the same seed."""
    return Options(
        seed=seed, hold=hold, timeouts=Timeouts(patience=SHORT_PATIENCE, rpc=5.0, connect=2.0), rng=random.Random(seed)
    )


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
    in_process: bool = False,
) -> Report:
    """Returns the report on a provider that is served for this run; `in_process` calls it without a socket."""
    servicers: list[Servicer] = []

    def build(core: Core, **options: Any) -> Servicer:
        servicers.append(servicer(core, **options))
        return servicers[-1]

    with tempfile.TemporaryDirectory() as directory:
        async with serving(core, servicer=build, rpc_delay=rpc_delay, health=health, reflection=reflection) as address:
            return await engine_run.run(
                plan_of(select),
                in_process_target(servicers[0], address) if in_process else Target(address=address),
                options=options or options_of(seed),
                ledger_at=lambda run: Path(directory) / f"{run}.ndjson",
            )


async def judge_mutant_over_tcp(mutant: Mutant, *, select: Sequence[str] = (), seed: int = 0) -> Report:
    """Returns the report on a mutant, over TCP."""
    options = options_of(seed, hold=mutant.hold)
    return await judge(mutant.provider(), select=select, servicer=mutant.servicer, options=options)


def judge_mutant_in_virtual_time(
    mutant: Mutant, *, select: Sequence[str] = (), skip: Sequence[str] = (), seed: int = 0
) -> Report:
    """Returns the report on a mutant with virtual time, so that it is the same each time."""
    options = options_of(seed, hold=mutant.hold)
    return run_on_virtual_clock(plan_of(select, skip), mutant.provider(), options=options, servicer=mutant.servicer)


def judge_mutant(mutant: Mutant, *, select: Sequence[str] = (), seed: int = 0) -> Report:
    """Returns the report on a mutant: over TCP if its defect needs a socket, otherwise with virtual time."""
    if mutant.tcp:
        return asyncio.run(judge_mutant_over_tcp(mutant, select=select, seed=seed))
    return judge_mutant_in_virtual_time(mutant, select=select, seed=seed)


NEEDS_SOCKET = ("WIR-3b", "WIR-3c", "WIR-3f", "WIR-4*", "WIR-6*")
"""The behaviours that need a socket also with virtual time; their run time depends on the computer."""


def judge_with_whole_suite(mutant: Mutant, *, seed: int = 0) -> Report:
    """Returns the report of the whole suite on a mutant; behaviours that need a socket have their own run."""
    if mutant.alone:
        return judge_mutant(mutant, select=mutant.found_by, seed=seed)
    needs_socket = (*NEEDS_SOCKET, *mutant.found_by) if mutant.tcp else NEEDS_SOCKET
    main = judge_mutant_in_virtual_time(mutant, skip=needs_socket, seed=seed)
    rest = judge_mutant(mutant, select=needs_socket, seed=seed)
    known = catalogue.load()
    # The merged results have the complete entries, so that `rests_on` connects results of both runs.
    judged = {result.id for result in main.results}
    results = (*main.results, *(result for result in rest.results if result.id not in judged))
    return replace(main, results=tuple(replace(r, entry=known[r.id]) for r in results))


async def judge_variant(
    variant: Variant, *, select: Sequence[str] = (), seed: int = 0, in_process: bool = False
) -> Report:
    """Returns the report on a variant; over TCP unless `in_process`."""
    return await judge(
        variant.provider(),
        select=select,
        seed=seed,
        servicer=variant.servicer,
        options=variant.run_options(seed),
        in_process=in_process,
        **variant.serving,
    )


def judge_variant_in_virtual_time(variant: Variant, *, select: Sequence[str] = (), seed: int = 0) -> Report:
    """Returns the report on a variant with virtual time."""
    return run_on_virtual_clock(
        plan_of(select),
        variant.provider(),
        options=variant.run_options(seed),
        servicer=variant.servicer,
        **variant.serving,
    )
