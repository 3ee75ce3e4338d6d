"""What a run has cost: transitions started, machines alive, and their price by the provider's own figures."""

from __future__ import annotations

import math
import statistics
from collections import Counter, deque
from dataclasses import dataclass

from conformance.core.errors import BudgetSpent
from conformance.core.lifecycle import Verb
from conformance.core.value_types import Count, Seconds

MEASURED = 10_000
"""Of each verb so many transition times are kept, the last ones: a run of hours needs no more room than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Transitions that were started, most machines alive at once, and for how long they lived in all."""

    create: Count = 0
    configure: Count = 0
    drain: Count = 0
    delete: Count = 0
    peak_machines: Count = 0
    machine_seconds: Seconds = 0.0
    price: float = 0.0


class Meter:
    """Counts while the run goes on. An operation id is one transition, however many calls were answered with it."""

    def __init__(self, *, max_creates: int | None = None) -> None:
        self._max_creates = max_creates
        self._operations: dict[str, set[tuple[Verb, str]]] = {}
        """By machine, what was started there and under which operation id."""
        self._counts: Counter[Verb] = Counter()
        self._pending: Counter[str] = Counter()
        self._doubtful: set[str] = set()
        """Machines that a Create of which nothing was heard may have started."""
        self._alive: dict[str, tuple[float, float]] = {}
        self._took: dict[Verb, deque[float]] = {verb: deque(maxlen=MEASURED) for verb in Verb}
        self._peak = 0
        self._seconds = 0.0
        self._price = 0.0

    def reserve(self, machine_id: str) -> None:
        """A Create is about to be sent for a machine that is not alive. Raises BudgetSpent where it is one too many."""
        under_way = self._pending.keys() | self._doubtful
        begun = self._counts[Verb.CREATE] + len(under_way - self._alive.keys())
        if self._max_creates is not None and machine_id not in under_way and begun >= self._max_creates:
            raise BudgetSpent(f"--max-creates {self._max_creates} is reached", hint="raise it to have this judged")
        self._pending[machine_id] += 1

    def doubt(self, machine_id: str) -> None:
        """A Create was not heard out: until one is, it counts."""
        self._doubtful.add(machine_id)

    def answered(self, verb: Verb, machine_id: str, operation_id: str, now: float, *, price: float) -> bool:
        """A mutating call came back; `operation_id` is empty where nothing was started. Whether it is a new one."""
        if verb is Verb.CREATE and self._pending[machine_id]:
            self._pending[machine_id] -= 1
            self._pending += Counter()
        started = self._operations.setdefault(machine_id, set())
        # A life is a life, though a provider may give it the operation id of another one.
        begins = verb is Verb.CREATE and machine_id not in self._alive
        if not operation_id or ((verb, operation_id) in started and not begins):
            return False
        started.add((verb, operation_id))
        self._counts[verb] += 1
        if begins:
            self._doubtful.discard(machine_id)
            self._alive[machine_id] = (now, price if math.isfinite(price) else 0.0)
            self._peak = max(self._peak, len(self._alive))
        return True

    def owners(self, operation_id: str) -> frozenset[str]:
        """The machines whose acks had this operation id, so far: one, in a provider that keeps OPS-3."""
        return frozenset(
            machine_id
            for machine_id, started in self._operations.items()
            if any(operation == operation_id for _, operation in started)
        )

    def forget(self, machine_id: str) -> None:
        """What the machine has done is not asked for any more: in a long run it would need ever more room."""
        self._operations.pop(machine_id, None)

    def gone(self, machine_id: str, now: float) -> None:
        """The machine has no host any more."""
        if machine_id in self._alive:
            since, price = self._alive.pop(machine_id)
            self._seconds += now - since
            self._price += (now - since) * price / 3600

    def took(self, verb: Verb, seconds: float) -> None:
        """A transition was seen from its ack to its settling."""
        self._took[verb].append(seconds)

    def median(self, verb: Verb) -> float:
        """The median of a verb's transition times, in seconds; 0 where none was seen."""
        return statistics.median(self._took[verb]) if self._took[verb] else 0.0

    def seen(self, verb: Verb) -> bool:
        """Whether any transition of a verb was seen to its end."""
        return bool(self._took[verb])

    @property
    def slowest(self) -> float:
        """The longest of the verbs' median transition times, in seconds; 0 where none was seen yet."""
        return max(self.median(verb) for verb in Verb)

    @property
    def alive(self) -> int:
        """Machines that the run has started and not yet brought home."""
        return len(self._alive)

    def bill(self, now: float) -> Bill:
        """The bill so far."""
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
