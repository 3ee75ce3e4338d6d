"""The machines of a churn, and the creates that it may spend on them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.core.errors import TargetError
from conformance.core.lifecycle import State
from conformance.fleet.machine import Machine
from conformance.lanes.scale.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.engine.options import Options
    from conformance.fleet.context import FleetContext
    from conformance.lanes.scale.oracle import Oracle
    from conformance.lanes.scale.timings import Timings
    from conformance.results.target_info import TargetInfo

MACHINES = 16
"""The number of machines that are driven at once if none is given."""
LIVES = 10
"""How often each machine is created on average, if no number of creates is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The most machines at once, and the most creates."""

    machines: int
    creates: int

    @classmethod
    def of(cls, slots: list[tuple[str, State]], found: TargetInfo, options: Options) -> Size:
        """Returns the requested size, or else a small one, at most half of a small fleet.

        Raises TargetError if no machine could be driven.
        """
        wanted = options.limits.max_machines or min(MACHINES, max(1, len(slots) // 2))
        machines = min(wanted, len(slots))
        lives = LIVES if found.delete else 1
        creates = lives * machines if options.limits.max_creates is None else options.limits.max_creates
        idle = sum(home is State.IDLE for _, home in slots)
        machines = min(machines, idle + creates)
        if not machines:
            free = "--use-idle lets the kit drive IDLE machines" if found.idle else "give it SPECULATIVE ones"
            raise TargetError("there is no machine that could be driven; nothing was touched", hint=free)
        return cls(machines=machines, creates=creates)


class Supply:
    """Hands out the machines of the target, each to a worker of its own, within the limits of the run."""

    def __init__(
        self,
        yard: FleetContext,
        oracle: Oracle,
        timings: Timings,
        *,
        slots: list[tuple[str, State]],
        size: Size,
        max_alive: int | None,
        draw: random.Random,
        alive: Callable[[], Awaitable[None]],
    ) -> None:
        self.size = size
        self.workers: list[Worker] = []
        """All that were ever handed out. Their machines have to be returned, whatever happens."""
        self.failed = 0
        """Machines that ended in FAILED, which is allowed, or that another client created at the same moment."""
        self._yard, self._oracle, self._timings = yard, oracle, timings
        self._slots, self._max_alive = list(reversed(slots)), max_alive
        self._draw, self._alive = draw, alive
        self._creates = 0
        """Creates that were begun, or for which a machine was given back."""

    def drives(self, worker: Worker) -> bool:
        """Whether the oracle still knows the worker's machine."""
        return worker.machine.id in self._oracle.machines

    @property
    def left(self) -> bool:
        """Whether another machine may be taken. It costs money: not if as many have failed as are driven at once."""
        alive = sum(self.drives(worker) or worker.machine.may_be_alive for worker in self.workers)
        room = self._max_alive is None or alive < self._max_alive
        return room and bool(self._slots) and self.failed <= self.size.machines

    def take(self) -> Worker | None:
        """Returns a worker for another machine; None if there is none."""
        if not self.left:
            return None
        (machine_id, home), number = self._slots.pop(), len(self.workers) + 1
        machine = Machine(machine_id, self._yard, number=number, home=home)
        worker = Worker(
            machine, number, self._yard, self._oracle, self._timings, random.Random(self._draw.random()), self._alive
        )
        self.workers.append(worker)
        return worker

    @property
    def creates_left(self) -> bool:
        """Whether another create may be begun."""
        return self._creates < self.size.creates

    def spend(self, creates: int) -> None:
        """Counts creates that begin, or that follow because a machine is given back."""
        self._creates += creates
