"""Providers that get an orderly stop or a newer version wrong, and unusual ones that conform, for the rollout lane."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.lanes.rollout import LANE
from fake_provider.core import Core
from fake_provider.server import Server
from fake_provider.servicer import Servicer
from selftest.durability_run import judge
from selftest.durable import Durable, Restarted

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.results.report import Report

C = TypeVar("C", bound=type)


class StoppedCore(Restarted):
    """Not a mutant: a core that knows whether it was asked to stop."""

    stopping = False

    def begin_stop(self) -> None:
        """Notes the request to stop; the last calls are still to come."""
        self.stopping = True


class StoppingServer(Server):
    """Not a mutant: tells its core as soon as it is asked to stop."""

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        if isinstance(self.core, StoppedCore):
            self.core.begin_stop()
        await super().stop(grace, notice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled(Durable):
    """One provider with a newer version of it: the same, unless `newer` has another core, servicer or server."""

    server: type[Server] = StoppingServer
    newer: dict[str, Any] = field(default_factory=dict)

    async def judge(self, *select: str, seed: int = 0) -> Report:
        """Returns the report of the lane, or of the chosen behaviours."""
        kept: dict[str, Any] = {}
        newer = dict(self.newer)
        newer["core"] = self.factory(kept=kept, core=newer.get("core", self.core))
        return await judge(
            self.factory(kept=kept),
            select=select,
            seed=seed,
            lane=LANE,
            servicer=self.servicer,
            startup=self.startup,
            server=self.server,
            newer=newer,
            **self.serving,
        )


MUTANTS: dict[str, Rolled] = {}
"""The mutants by name."""
ODDITIES: dict[str, Rolled] = {}
"""The conformant providers by name."""


def rolled(*found_by: str, newer: bool = False, **options: Any) -> Callable[[C], C]:
    """Registers a subclass of Core, Servicer or Server as a provider that `found_by` must find.

    Without `found_by`, it is an unusual provider that conforms. With `newer`, only the newer version is of that class.
    """

    def register(cls: C) -> C:
        key = next(key for key, base in _KINDS.items() if issubclass(cls, base))
        changed: dict[str, Any] = {"newer": {key: cls}} if newer else {key: cls}
        made = Rolled(
            name=cls.__name__, story=inspect.cleandoc(cls.__doc__ or ""), found_by=found_by, **changed, **options
        )
        known = MUTANTS if found_by else ODDITIES
        if made.name in known:
            raise ValueError(f"two providers are called {made.name}")
        known[made.name] = made
        return cls

    return register


_KINDS = {"core": Core, "servicer": Servicer, "server": Server}
