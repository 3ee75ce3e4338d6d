"""The scale lane, run against one provider in this process."""

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


async def churn(
    core: Core,
    *,
    operations: int,
    options: Options,
    servicer: type[Servicer] = Servicer,
    short: bool = False,
    **serve: Any,
) -> Report:
    """The lane's report on a provider that lives only for this run. `short`: its RPCs are reached without a socket."""
    made: list[Servicer] = []

    def seen(core: Core, **given: Any) -> Servicer:
        made.append(servicer(core, **given))
        return made[-1]

    with tempfile.TemporaryDirectory() as directory:
        async with serving(core, servicer=seen, **serve) as address:
            return await scale_run.run(
                scale_run.ScaleSettings(soak=Soak(operations=operations)),
                in_process_target(made[0], address) if short else Target(address=address),
                options=options,
                ledger_at=lambda run: Path(directory) / f"{run}.ndjson",
            )
