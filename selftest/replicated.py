"""Several replicas of one provider in this process, on one SQLite file, for the rollout lane."""

from __future__ import annotations

import inspect
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.fleet.replicas import Replicas
from conformance.frontends.cli.provider_options import free_port
from conformance.lanes.rollout import LANE
from conformance.lanes.rollout.settings import RolloutSettings
from conformance.rpc.target import Target
from fake_provider.core import Core
from fake_provider.server import Server
from fake_provider.servicer import Servicer
from fake_provider.store import SqliteStore
from selftest.durability_run import judge_provider
from selftest.durable import Durable, Restarted
from selftest.restartable import RestartableProvider
from selftest.rolled import StoppedCore, StoppingServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.results.report import Report

C = TypeVar("C", bound=type)


class Replica(StoppedCore):
    """Not a mutant: a core that knows which replica it is, and what all of them share."""

    @property
    def number(self) -> int:
        """The number of the replica, from 0."""
        return int(self.kept["number"])

    @property
    def shared(self) -> dict[str, Any]:
        """The values that all replicas share, outside of their store."""
        shared: dict[str, Any] = self.kept["shared"]
        return shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicated(Durable):
    """One provider of several replicas."""

    core: type[Restarted] = Replica
    server: type[Server] = StoppingServer
    count: int = 3
    settings: RolloutSettings = field(default_factory=RolloutSettings)

    async def judge(self, *select: str, seed: int = 0) -> Report:
        """Returns the report of the lane, or of the chosen behaviours."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "fleet.db"
            shared: dict[str, Any] = {}
            members = [
                RestartableProvider(
                    self.factory(kept={"number": number, "shared": shared}),
                    store=lambda: SqliteStore(path),
                    servicer=self.servicer,
                    startup=self.startup,
                    server=self.server,
                    **self.serving,
                )
                for number in range(self.count)
            ]
            target = Target(address=f"127.0.0.1:{free_port()}")
            replicas = Replicas(members, target, start_timeout=20.0)
            return await judge_provider(replicas, select=select, seed=seed, lane=LANE, settings=self.settings)


MUTANTS: dict[str, Replicated] = {}
"""The mutants by name."""
ODDITIES: dict[str, Replicated] = {}
"""The conformant providers by name."""


def replicated(*found_by: str, **options: Any) -> Callable[[C], C]:
    """Registers a subclass of Core, Servicer or Server as a provider of replicas that `found_by` must find.

    Without `found_by`, it is an unusual provider that conforms.
    """

    def register(cls: C) -> C:
        key = next(key for key, base in _KINDS.items() if issubclass(cls, base))
        changed: dict[str, Any] = {key: cls}
        made = Replicated(
            name=cls.__name__, story=inspect.cleandoc(cls.__doc__ or ""), found_by=found_by, **changed, **options
        )
        known = MUTANTS if found_by else ODDITIES
        if made.name in known:
            raise ValueError(f"two providers are called {made.name}")
        known[made.name] = made
        return cls

    return register


_KINDS = {"core": Core, "servicer": Servicer, "server": Server}
