"""A provider that fails wrongly, the registry of all of them, and the run of the faults lane against one provider."""

from __future__ import annotations

import inspect
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.core.timeouts import Patience
from conformance.engine.dry_run import run_on_virtual_clock
from conformance.engine.options import Options, Timeouts
from conformance.frontends import collection
from conformance.lanes import faults as faults_lane
from conformance.lanes import named, whole_catalogue
from conformance.lanes.faults.settings import FaultSettings
from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from fake_provider.latency import Latency

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.results.report import Report

C = TypeVar("C", bound=type[Core])


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyProvider:
    """One provider whose transitions can be made to fail. `options` go to the core's constructor.

    A mutant has a `clause` that it breaks, and the behaviours that must find it; an oddity has none.
    """

    name: str
    story: str
    core: type[Core]
    clause: str = ""
    found_by: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    """The behaviours that an oddity gives nothing to judge."""
    patience: float = 4.0
    options: dict[str, Any] = field(default_factory=dict)

    def provider(self) -> Core:
        """Returns a new provider of this kind."""
        options: dict[str, Any] = {"faults": Faults(), "latency": Latency.parse("40ms")} | self.options
        return self.core(fleet(24, faulty=3), **options)

    def judge(self, *, select: Sequence[str] = (), seed: int = 0, settings: FaultSettings | None = None) -> Report:
        """Returns the report of the lane on this provider, with virtual time."""
        settings = settings or FaultSettings()
        plan = collection.select(select, (), named(faults_lane.LANE.name), settings)
        return run_on_virtual_clock(plan, self.provider(), options=self.run_options(seed), settings=settings)

    def run_options(self, seed: int) -> Options:
        """Returns the options of a run against this provider."""
        patience = Patience(*[self.patience] * 4)
        timeouts = Timeouts(patience=patience, rpc=5.0, connect=2.0)
        return Options(seed=seed, timeouts=timeouts, rng=random.Random(seed), catalogue=whole_catalogue())


FAULTS_MUTANTS: dict[str, FaultyProvider] = {}
ODDITIES: dict[str, FaultyProvider] = {}


def faults_mutant(clause: str, *found_by: str, **options: Any) -> Callable[[C], C]:
    """Registers a subclass of Core as a mutant that breaks `clause` and that `found_by` must find."""

    def register(core: C) -> C:
        story = inspect.cleandoc(core.__doc__ or "")
        FAULTS_MUTANTS[core.__name__] = FaultyProvider(
            name=core.__name__, story=story, core=core, clause=clause, found_by=found_by, options=options
        )
        return core

    return register


def oddity(*, skips: Sequence[str] = (), patience: float = 20.0, **options: Any) -> Callable[[C], C]:
    """Registers a subclass of Core as an oddity, which conforms."""

    def register(core: C) -> C:
        story = inspect.cleandoc(core.__doc__ or "")
        ODDITIES[core.__name__] = FaultyProvider(
            name=core.__name__, story=story, core=core, skips=tuple(skips), patience=patience, options=options
        )
        return core

    return register
