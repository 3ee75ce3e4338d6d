"""Mutants: the fake provider with one deliberate defect, the clause it breaks, and the behaviours that must find it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C", bound=type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One defect. `found_by` are the behaviours that must find it; `options` go to the core's constructor.

    `also` are behaviours of other clauses that may find it as a cause, for the reason in `because`. `alone` is the
    reason for which only `found_by` can run against it, for example that a request ends the server. `tcp` means that
    the defect does not show without a socket. `hold` is the value of `--hold` for the run, in seconds.
    `whole` means that only the calls of other behaviours, or of the pool, show the defect (the model of the fleet).
    """

    name: str
    story: str
    clause: str
    found_by: tuple[str, ...]
    core: type[Core] = Core
    servicer: type[Servicer] = Servicer
    latency: str = "40ms"
    machines: int = 24
    hold: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    because: str = ""
    alone: str = ""
    tcp: bool = False
    whole: bool = False

    def provider(self) -> Core:
        """Returns a new provider with this defect."""
        return self.core(fleet(self.machines), latency=Latency.parse(self.latency), **self.options)


MUTANTS: dict[str, Mutant] = {}


def one_of_each() -> tuple[Mutant, ...]:
    """Returns the first mutant of each clause that its behaviours find without the others, ordered by clause."""
    ordered = sorted((m for m in MUTANTS.values() if not m.whole), key=lambda mutant: mutant.clause)
    return tuple(next(group) for _, group in groupby(ordered, key=lambda mutant: mutant.clause))


def mutant(
    clause: str,
    *found_by: str,
    also: tuple[str, ...] = (),
    because: str = "",
    alone: str = "",
    tcp: bool = False,
    latency: str = "40ms",
    machines: int = 24,
    hold: float = 0.0,
    whole: bool = False,
    **options: Any,
) -> Callable[[C], C]:
    """Registers a subclass of Core or Servicer as a mutant that breaks `clause` and that `found_by` must find."""

    def register(cls: C) -> C:
        if cls.__name__ in MUTANTS:
            raise ValueError(f"two mutants are called {cls.__name__}")
        if bool(also) != bool(because):
            raise ValueError(f"{cls.__name__}: `also` and `because` require each other")
        base: dict[str, Any] = {"core": cls} if issubclass(cls, Core) else {"servicer": cls}
        MUTANTS[cls.__name__] = Mutant(
            name=cls.__name__,
            story=inspect.cleandoc(cls.__doc__ or ""),
            clause=clause,
            found_by=found_by,
            latency=latency,
            machines=machines,
            hold=hold,
            whole=whole,
            options=options,
            also=also,
            because=because,
            alone=alone,
            tcp=tcp,
            **base,
        )
        return cls

    return register
