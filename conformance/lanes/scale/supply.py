"""The machines of a churn, and its budget of creates."""

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
    from conformance.lanes.scale.soak import Soak
    from conformance.lanes.scale.timings import Timings
    from conformance.lanes.scale.verdicts import Verdicts
    from conformance.results.target_info import TargetInfo

DEFAULT_MACHINES = 16
"""The number of machines that are driven at once without `--max-machines`."""
CREATES_PER_MACHINE = 10
"""The average number of Creates of each machine without `--max-creates`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The maximum number of machines at once, and of creates."""

    machines: int
    creates: int

    @classmethod
    def of(cls, slots: list[tuple[str, State]], found: TargetInfo, options: Options, soak: Soak) -> Size:
        """Returns the requested size; by default a small one, at most half of a small fleet.

        A soak of few transitions gets no more machines than can live twice in it. Raises TargetError if no machine can
        be driven.
        """
        wanted = options.limits.max_machines or min(DEFAULT_MACHINES, max(1, len(slots) // 2), soak.lives // 2 or 1)
        machines = min(wanted, len(slots))
        creates_each = CREATES_PER_MACHINE if found.delete else 1
        if not options.limits.max_machines:
            creates_each = min(creates_each, max(1, soak.lives // max(1, machines)))
        creates = creates_each * machines if options.limits.max_creates is None else options.limits.max_creates
        idle = sum(home is State.IDLE for _, home in slots)
        machines = min(machines, idle + creates)
        if not machines:
            hint = (
                "--use-idle lets the kit drive IDLE machines"
                if found.idle
                else "give the provider SPECULATIVE machines"
            )
            raise TargetError("no machine can be driven; nothing was touched", hint=hint)
        return cls(machines=machines, creates=creates)


class Supply:
    """Assigns each machine of the target to its own worker, within the limits of the run."""

    def __init__(
        self,
        context: FleetContext,
        verdicts: Verdicts,
        timings: Timings,
        *,
        slots: list[tuple[str, State]],
        size: Size,
        max_alive: int | None,
        rng: random.Random,
        check_target: Callable[[], Awaitable[None]],
    ) -> None:
        self.size = size
        self.workers: list[Worker] = []
        """All workers of the churn. Their machines must be returned in any case."""
        self.failed = 0
        """The number of machines that ended in FAILED, which is allowed, or that another client created first."""
        self._context, self._verdicts, self._timings = context, verdicts, timings
        self._slots, self._max_alive = list(reversed(slots)), max_alive
        self._rng, self._check_target = rng, check_target
        self._creates = 0
        """The number of Creates that were begun, or that will follow a Delete."""

    def drives(self, worker: Worker) -> bool:
        """Returns whether the worker's machine is still driven."""
        return worker.machine.id in self._verdicts.driven

    @property
    def left(self) -> bool:
        """True if another machine may be taken. To limit the cost, not if more have failed than are driven at once."""
        alive = sum(self.drives(worker) or worker.machine.may_be_alive for worker in self.workers)
        room = self._max_alive is None or alive < self._max_alive
        return room and bool(self._slots) and self.failed <= self.size.machines

    def take(self) -> Worker | None:
        """Returns a worker for another machine; None if no machine may be taken."""
        if not self.left:
            return None
        (machine_id, home), number = self._slots.pop(), len(self.workers) + 1
        machine = Machine(machine_id, self._context, number=number, home=home)
        worker = Worker(
            machine,
            number,
            self._context,
            self._verdicts,
            self._timings,
            random.Random(self._rng.random()),
            self._check_target,
        )
        self.workers.append(worker)
        return worker

    @property
    def creates_left(self) -> bool:
        """True if another Create may begin."""
        return self._creates < self.size.creates

    def spend(self, creates: int) -> None:
        """Counts Creates that begin, or that will follow a Delete."""
        self._creates += creates
