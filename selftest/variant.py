"""A variant: one unusual but conformant provider, and the registry of all of them."""

from __future__ import annotations

import inspect
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.core.timeouts import Patience
from conformance.engine.options import Options, Timeouts
from conformance.results.result import Status
from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fence import Scope
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.results.report import Report
    from conformance.results.result import Result

T = TypeVar("T", bound=type)

CALM = Patience(20.0, 20.0, 20.0, 20.0)
"""A conformant provider settles in the end, but it may be slow on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One conformant provider. `options` go to the core's constructor, `serving` to the server's."""

    name: str
    story: str
    core: type[Core] = Core
    servicer: type[Servicer] = Servicer
    latency: str = "30ms"
    machines: int = 24
    idle: int = 0
    use_idle: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    serving: dict[str, Any] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    """The MAY behaviours whose feature this variant does not have; they report that, and judge nothing."""
    warns: tuple[str, ...] = ()
    """The behaviours that may warn of this variant, in some or all runs, because it breaks a SHOULD."""
    faulty: int = 0
    """The number of extra slots whose label makes their Create fail (contract §9)."""
    leaves_failed: bool = False
    """True if machines may remain in FAILED, from where no call leads back to SPECULATIVE (FLT-3)."""
    hold: float = 0.0
    """The value of `--hold` for the run, in seconds."""

    def provider(self) -> Core:
        """Returns a new provider of this kind."""
        machines = fleet(self.machines, idle=self.idle, faulty=self.faulty)
        return self.core(machines, latency=Latency.parse(self.latency), **self.options)

    def wrong(self, report: Report) -> list[Result]:
        """Returns the results that must not occur: failures, errors, and warnings that are not in `warns`."""
        found = report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
        return [r for r in found if r.status is not Status.WARNED or r.id not in self.warns]

    def run_options(self, seed: int) -> Options:
        """Returns the options of a run against this variant."""
        timeouts = Timeouts(patience=CALM, rpc=20.0)
        return Options(seed=seed, timeouts=timeouts, hold=self.hold, use_idle=self.use_idle, rng=random.Random(seed))


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(name="Reference", story="The bundled fake provider, unchanged."),
        Variant(
            name="MarkPerShard",
            story="Keeps one mark for each shard.",
            options={"scope": Scope.SHARD},
            warns=("FEN-13d",),
        ),
        Variant(name="NoDelete", story="Does not have Delete.", machines=64, options={"deletes": False}),
        Variant(name="NoRevisions", story="Gives no revisions.", options={"revisions": False}),
        Variant(
            name="BareMetal",
            story="Has a fixed pool of machines, all IDLE, and no Delete.",
            machines=8,
            idle=8,
            use_idle=True,
            options={"deletes": False},
        ),
        Variant(name="Instant", story="Ends every transition before its ack.", latency="0"),
        Variant(name="Slow", story="Takes a third of a second for each transition.", latency="300ms"),
        Variant(name="Uneven", story="Takes a different time for each transition.", latency="0..150ms"),
        Variant(
            name="AtTargetIsRetry",
            story="Answers Drain of an IDLE machine and Delete of a SPECULATIVE one as retries.",
            options={"drain_of_idle": "retry", "delete_of_speculative": "retry"},
        ),
        Variant(name="SlowRpcs", story="Takes 50 ms for each RPC.", serving={"rpc_delay": 0.05}),
        Variant(name="HalfIdle", story="Has a fleet of which half is IDLE at the start.", idle=12),
        Variant(name="FourMachines", story="Has only four machines.", machines=4),
        Variant(
            name="NoHealth",
            story="Does not serve the health service.",
            serving={"health": False},
            warns=("WIR-4a",),
        ),
        Variant(
            name="NoReflection",
            story="Does not serve reflection.",
            serving={"reflection": False},
            lacks=("WIR-4b",),
        ),
        Variant(
            name="FaultySlots",
            story="Has slots whose Create fails, marked by their label.",
            faulty=6,
            options={"faults": Faults()},
        ),
    )
}


def variant(**options: Any) -> Callable[[T], T]:
    """Registers a subclass of Core or Servicer as a conformant variant."""

    def register(cls: T) -> T:
        base: dict[str, Any] = {"core": cls} if issubclass(cls, Core) else {"servicer": cls}
        story = inspect.cleandoc(cls.__doc__ or "")
        VARIANTS[cls.__name__] = Variant(name=cls.__name__, story=story, **base, **options)
        return cls

    return register
