"""The options of a run."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from conformance.core import catalogue as catalogues
from conformance.core.timeouts import Patience
from conformance.results.kit_coverage import KitCoverage
from conformance.results.replay_options import ReplayOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.core.catalogue import Catalogue
    from conformance.results.result import Result
    from conformance.rpc.faults.spec import Fault
    from conformance.rpc.target import Target


FAKE: Final = "the embedded fake"
"""The name of the target if the kit serves the bundled fake for the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a run; None means no limit."""

    jobs: int | None = None
    """The maximum number of behaviours that run concurrently."""
    max_machines: int | None = None
    """The maximum number of machines that are alive at once."""
    max_creates: int | None = None
    timeout: float | None = None
    """Seconds for the run. Machines are returned after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The time that the provider gets for one thing, in seconds."""

    patience: Patience = field(default_factory=Patience)
    """For a transition, by verb."""
    rpc: float = 30.0
    connect: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Facts that are recorded in the report, and do not change the run."""

    version: str = ""
    """The version of the kit."""
    whole: bool = True
    """True if the plan contains all behaviours."""
    fake: bool = False
    """True if the target is the embedded fake."""
    coverage: KitCoverage = field(default_factory=KitCoverage)
    """The lane of the run, and the clauses that each lane of the kit judges."""
    commands: tuple[str, ...] = ()
    """The options whose commands the run was given, such as `provider-cmd`."""
    lane_options: tuple[str, ...] = ()
    """The options of the lane that differ from their defaults, as words of the command line."""


# More than 15 attributes: about one for each option of a run.
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a run."""

    seed: int = 0
    examples: int = 25
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    use_idle: bool = False
    keep: bool = False
    fail_fast: bool = False
    strict: bool = False
    require: tuple[str, ...] = ()
    fence_scope: str | None = None
    hold: float = 0.0
    """Seconds for which the run holds its long-lived state at least, before it looks at it again."""
    faults: tuple[Fault, ...] = ()
    """The faults that the run injects into its own calls, from the first lease to the last verdict."""
    info: RunInfo = field(default_factory=RunInfo)
    rng: random.Random = field(default_factory=random.Random, repr=False)
    """Names the run and orders its machines. Not seeded: two runs with one seed should not use the same machines."""
    tolerates: Callable[[Result], bool] = lambda result: False
    """Returns True for a failure that `fail_fast` ignores."""
    catalogue: Catalogue = field(default_factory=catalogues.load, repr=False)
    """The behaviours of all lanes: one that was not selected may be broken too, as the model of the fleet sees."""


def replay_options(options: Options, target: Target | None) -> ReplayOptions:
    """Returns the options that a replay of this run must repeat. Without a `target`, it is the embedded fake."""
    return ReplayOptions(
        examples=options.examples,
        fence_scope=options.fence_scope,
        hold=options.hold,
        use_idle=options.use_idle,
        patience=options.timeouts.patience,
        rpc_timeout=options.timeouts.rpc,
        fake=options.info.fake,
        headers=tuple(name for name, _ in target.headers) if target else (),
        faults=tuple(fault.text for fault in options.faults),
        lane_options=options.info.lane_options,
        commands=options.info.commands,
        server_name=target.tls.server_name if target and target.tls else None,
    )
