"""Counts the cost of a run: started transitions, machines alive, and the price by the provider's price_per_hour."""

from __future__ import annotations

import math
import statistics
from collections import Counter, deque
from dataclasses import dataclass

from conformance.core.errors import BudgetSpent
from conformance.core.lifecycle import Verb
from conformance.core.value_types import Count, Seconds

MAX_SAMPLES_PER_VERB = 10_000
"""Only the latest transition times of each verb are kept, so that memory use is bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Started transitions by verb, the peak number of live machines, their total time and its price, and restarts."""

    create: Count = 0
    configure: Count = 0
    drain: Count = 0
    delete: Count = 0
    peak_machines: Count = 0
    machine_seconds: Seconds = 0.0
    price: float = 0.0
    restarts: Count = 0
    """The number of times that the kit has ended the provider. 0 in records of older releases."""


class Meter:
    """Counts during the run. All calls that are answered with one operation id are one transition."""

    def __init__(self, *, max_creates: int | None = None) -> None:
        self._max_creates = max_creates
        self._operations: dict[str, set[tuple[Verb, str]]] = {}
        """The started transitions by machine, with their operation ids."""
        self._counts: Counter[Verb] = Counter()
        self._pending: Counter[str] = Counter()
        self._maybe_started: set[str] = set()
        """Machines that an unanswered Create may have started."""
        self._alive: dict[str, tuple[float, float]] = {}
        self._durations: dict[Verb, deque[float]] = {verb: deque(maxlen=MAX_SAMPLES_PER_VERB) for verb in Verb}
        self._peak = 0
        self._seconds = 0.0
        self._price = 0.0

    def reserve(self, machine_id: str) -> None:
        """Reserves a Create for a machine that is not alive. Raises BudgetSpent if it would exceed the limit."""
        in_flight = self._pending.keys() | self._maybe_started
        started = self._counts[Verb.CREATE] + len(in_flight - self._alive.keys())
        if self._max_creates is not None and machine_id not in in_flight and started >= self._max_creates:
            raise BudgetSpent(f"--max-creates {self._max_creates} is reached", hint="raise it to judge this behaviour")
        self._pending[machine_id] += 1

    def note_unanswered(self, machine_id: str) -> None:
        """Counts an unanswered Create as a start, until another Create of the machine is answered."""
        self._maybe_started.add(machine_id)

    def answered(self, verb: Verb, machine_id: str, operation_id: str, now: float, *, price: float) -> bool:
        """Counts an answered mutating call. Returns whether it started a transition; `operation_id` is empty if not."""
        if verb is Verb.CREATE and self._pending[machine_id]:
            self._pending[machine_id] -= 1
            self._pending += Counter()
        started = self._operations.setdefault(machine_id, set())
        # A new start counts even if the provider reuses the operation id of an earlier one.
        begins = verb is Verb.CREATE and machine_id not in self._alive
        if not operation_id or ((verb, operation_id) in started and not begins):
            return False
        started.add((verb, operation_id))
        self._counts[verb] += 1
        if begins:
            self._maybe_started.discard(machine_id)
            self._alive[machine_id] = (now, price if math.isfinite(price) else 0.0)
            self._peak = max(self._peak, len(self._alive))
        return True

    def owners(self, operation_id: str) -> frozenset[str]:
        """Returns the machines whose acks had this operation id so far: at most one, if OPS-3 is satisfied."""
        return frozenset(
            machine_id
            for machine_id, started in self._operations.items()
            if any(operation == operation_id for _, operation in started)
        )

    def forget(self, machine_id: str) -> None:
        """Drops the operation ids of a machine, so that long runs do not need more and more memory."""
        self._operations.pop(machine_id, None)

    def note_released(self, machine_id: str, now: float) -> None:
        """Ends the machine's time on the bill: it has no host any more."""
        if machine_id in self._alive:
            since, price = self._alive.pop(machine_id)
            self._seconds += now - since
            self._price += (now - since) * price / 3600

    def note_duration(self, verb: Verb, seconds: float) -> None:
        """Records the seconds of a transition from ack to settling."""
        self._durations[verb].append(seconds)

    def median(self, verb: Verb) -> float:
        """Returns the median of a verb's transition times in seconds; 0 without any."""
        return statistics.median(self._durations[verb]) if self._durations[verb] else 0.0

    def has_samples(self, verb: Verb) -> bool:
        """Returns whether there is a transition time for the verb."""
        return bool(self._durations[verb])

    @property
    def slowest(self) -> float:
        """The longest of the verbs' median transition times in seconds; 0 without any."""
        return max(self.median(verb) for verb in Verb)

    @property
    def transitions(self) -> int:
        """The number of transitions that the run has started."""
        return self._counts.total()

    @property
    def bound(self) -> frozenset[str]:
        """The machines that the run has bound at least once, except forgotten ones.

        Another call that is answered OK may have changed nothing: Delete of a slot, or Create of an IDLE machine.
        """
        return frozenset(
            machine_id
            for machine_id, started in self._operations.items()
            if any(verb is Verb.CONFIGURE for verb, _ in started)
        )

    @property
    def alive(self) -> int:
        """The number of machines that the run has started and not yet returned."""
        return len(self._alive)

    def bill(self, now: float) -> Bill:
        """Returns the bill so far."""
        running = [(now - since, price) for since, price in self._alive.values()]
        price = self._price + sum(seconds * price / 3600 for seconds, price in running)
        return Bill(
            create=self._counts[Verb.CREATE],
            configure=self._counts[Verb.CONFIGURE],
            drain=self._counts[Verb.DRAIN],
            delete=self._counts[Verb.DELETE],
            peak_machines=self._peak,
            machine_seconds=round(self._seconds + sum(seconds for seconds, _ in running), 3),
            price=round(price, 6) if math.isfinite(price) else 0.0,
        )
