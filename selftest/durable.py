"""Providers that lose something in a kill, and unusual ones that lose nothing: how the durability lane judges them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.servicer import Servicer
from selftest.durability_run import judge
from selftest.restartable import InProcessBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.results.report import Report
    from fake_provider.store import Store

C = TypeVar("C", bound=type)


class Restarted(Core):
    """Not a mutant: a core that knows whether it has started before."""

    kept: ClassVar[dict[str, Any]]
    """The same for all starts of one provider, as something outside of its state would be."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.kept["starts"] = self.kept.get("starts", 0) + 1
        super().__init__(*arguments, **options)

    @property
    def kills(self) -> int:
        """The number of earlier starts."""
        return int(self.kept["starts"]) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """One provider, with the behaviours that judge it; `found_by` is empty for one that conforms."""

    name: str
    story: str
    found_by: tuple[str, ...] = ()
    core: type[Restarted] = Restarted
    servicer: type[Servicer] = Servicer
    latency: str = "60ms"
    machines: int = 16
    startup: float = 0.0
    faults: bool = False
    backend: bool = False
    serving: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def factory(
        self,
        backend: InProcessBackend | None = None,
        *,
        kept: dict[str, Any] | None = None,
        core: type[Restarted] | None = None,
    ) -> Callable[[Store], Core]:
        """Returns the function that makes the core at each start; `kept` is what all its starts share."""
        chosen = core or self.core
        core = type(chosen.__name__, (chosen,), {"kept": {} if kept is None else kept})

        def make(store: Store) -> Core:
            faults = Faults(timeout=0.2) if self.faults else None
            made: Core = core(
                fleet(self.machines),
                latency=Latency.parse(self.latency),
                store=store,
                backend=backend,
                faults=faults,
                **self.options,
            )
            return made

        return make

    async def judge(self, *select: str, seed: int = 0) -> Report:
        """Returns the report of the lane, or of the chosen behaviours."""
        backend = InProcessBackend() if self.backend else None
        return await judge(
            self.factory(backend),
            select=select,
            seed=seed,
            backend=backend,
            servicer=self.servicer,
            startup=self.startup,
            **self.serving,
        )


DURABLE: dict[str, Durable] = {}
"""The mutants by name."""
ODDITIES: dict[str, Durable] = {}
"""The conformant providers by name."""


def durable(*found_by: str, **options: Any) -> Callable[[C], C]:
    """Registers a subclass of Core or Servicer as a provider that loses something, and `found_by` must find it.

    Without `found_by`, it is an unusual provider that conforms.
    """

    def register(cls: C) -> C:
        base: dict[str, Any] = {"core": cls} if issubclass(cls, Core) else {"servicer": cls}
        made = Durable(
            name=cls.__name__, story=inspect.cleandoc(cls.__doc__ or ""), found_by=found_by, **base, **options
        )
        known = DURABLE if found_by else ODDITIES
        if made.name in known:
            raise ValueError(f"two providers are called {made.name}")
        known[made.name] = made
        return cls

    return register
