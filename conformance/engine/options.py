"""The options of a run."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.timeouts import Patience
from conformance.results.replay_options import ReplayOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.results.result import Result
    from conformance.rpc.faults.spec import Fault
    from conformance.rpc.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a run. Times in seconds; None means no limit."""

    seed: int = 0
    examples: int = 25
    jobs: int | None = None
    max_machines: int | None = None
    max_creates: int | None = None
    use_idle: bool = False
    keep: bool = False
    fail_fast: bool = False
    strict: bool = False
    require: tuple[str, ...] = ()
    fence_scope: str | None = None
    patience: Patience = field(default_factory=Patience)
    rpc_timeout: float = 30.0
    connect_timeout: float = 10.0
    timeout: float | None = None
    faults: tuple[Fault, ...] = ()
    """The faults that the run injects into its own calls, from the first lease to the last verdict."""
    whole: bool = True
    version: str = ""
    fake: bool = False
    """Whether the target is the embedded fake; only recorded."""
    luck: random.Random = field(default_factory=random.Random, repr=False)
    """Names the run and orders its machines. Not the seed: two runs with one seed should not meet on a machine."""
    tolerates: Callable[[Result], bool] = lambda result: False
    """Returns whether `fail_fast` ignores this failure."""


def asked(options: Options, target: Target) -> ReplayOptions:
    """Returns the options that a replay of this run must repeat."""
    return ReplayOptions(
        examples=options.examples,
        fence_scope=options.fence_scope,
        use_idle=options.use_idle,
        patience=options.patience,
        rpc_timeout=options.rpc_timeout,
        fake=options.fake,
        headers=tuple(name for name, _ in target.headers),
        faults=tuple(fault.text for fault in options.faults),
        server_name=target.tls.server_name if target.tls else None,
    )
