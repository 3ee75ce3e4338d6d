"""Runs the scale lane against one provider in this process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.lanes.scale import run as scale_run
from conformance.lanes.scale.soak import Soak
from conformance.rpc.in_process import in_process_target
from conformance.rpc.target import Target
from fake_provider.server import serving
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from conformance.engine.options import Options
    from conformance.results.report import Report
    from fake_provider.core import Core


async def run_scale_lane(
    core: Core,
    *,
    operations: int,
    options: Options,
    servicer: type[Servicer] = Servicer,
    in_process: bool = False,
    **serve: Any,
) -> Report:
    """Returns the lane's report on a provider that is served for this run; `in_process` calls it without a socket."""
    servicers: list[Servicer] = []

    def build(core: Core, **options: Any) -> Servicer:
        servicers.append(servicer(core, **options))
        return servicers[-1]

    with tempfile.TemporaryDirectory() as directory:
        async with serving(core, servicer=build, **serve) as address:
            return await scale_run.run(
                scale_run.ScaleSettings(soak=Soak(operations=operations)),
                in_process_target(servicers[0], address) if in_process else Target(address=address),
                options=options,
                ledger_at=lambda run: Path(directory) / f"{run}.ndjson",
            )
