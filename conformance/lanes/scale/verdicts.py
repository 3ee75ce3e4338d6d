"""The breaches that the model of the fleet has noted, as the behaviours of this lane, and the number of compared facts.

The lane itself judges nothing: the model observes all its calls. Machines of other clients may appear and disappear:
the model ignores machines that the kit does not own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from conformance.core import catalogue
from conformance.core.errors import Violation
from conformance.fleet.model import rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.core.catalogue import Entry
    from conformance.fleet.model import FleetModel
    from conformance.results.breach import Breach
    from conformance.rpc.call import Call

MAX_GIVEN_UP_IN_A_ROW: Final = 6
"""The number of Configures in a row that a provider does not give up if it configures machines at all (FLT-1)."""
READING: Final = ("LIF-3", "LIF-5", "LIF-6")
"""The clauses that the model checks in each Get of a machine at rest, besides its metadata."""


def entry_for(breach: Breach, entries: Mapping[str, Entry]) -> Entry | None:
    """Returns the behaviour of the lane that a breach fails, out of `entries` by clause; None if the lane has none.

    The lane repeats its first tokens (FEN-12), and all its other tokens are fresh (COD-3). A breach of a lower level
    than the lane's behaviour stays that of the kit's own behaviour.
    """
    own = catalogue.load()[breach.behaviour]
    clause = own.clause.id
    if clause.startswith("FEN-"):
        last = breach.calls[-1]
        clause = "COD-3" if last.answered and last.fenced else "FEN-12"
    entry = entries.get(clause)
    return entry if entry is not None and entry.level is own.level else None


class Verdicts:
    """The verdicts of one run of the lane."""

    def __init__(self, model: FleetModel, entries: Sequence[Entry]) -> None:
        self.driven: set[str] = set()
        """The machines that the churn drives."""
        self.judged: Counter[str] = Counter()
        """The number of compared facts by clause."""
        self.model = model
        self._entries = {entry.clause.id: entry for entry in entries}
        self._found: dict[str, list[Breach]] = defaultdict(list)
        self._other: list[Breach] = []
        self._given_up: list[Call] = []
        """The last Configures, of all machines, that were given up in a row."""
        self._read = 0
        """The number of breaches that were sorted into `_found` and `_other`."""

    @property
    def facts(self) -> int:
        """The number of comparisons of an answer with an expected value."""
        return self.judged.total()

    @property
    def found(self) -> Mapping[str, Sequence[Breach]]:
        """The breaches by the id of the lane's behaviour that they fail, in order."""
        self._sort_new_breaches()
        return self._found

    @property
    def other(self) -> Sequence[Breach]:
        """The breaches that fail none of the lane's behaviours, but one of the kit's own."""
        self._sort_new_breaches()
        return self._other

    @property
    def disagreements(self) -> int:
        """The number of breaches of the lane's behaviours: of each machine at most one of each kind."""
        return sum(map(len, self.found.values()))

    def _sort_new_breaches(self) -> None:
        for breach in self.model.breaches[self._read :]:
            entry = entry_for(breach, self._entries)
            (self._other if entry is None else self._found[entry.id]).append(breach)
        self._read = len(self.model.breaches)

    def check_machine(self, machine_id: str) -> None:
        """Raises Violation if the machine has broken one of the lane's behaviours. A List says nothing about it."""
        for breaches in self.found.values():
            for breach in breaches:
                if breach.machine == machine_id and not breach.behaviour.startswith("LST-"):
                    raise Violation(breach.wanted, breach.got, calls=breach.calls)

    def note_configured(self, ack: Call, *, given_up: bool) -> None:
        """Notes the end of a Configure, and the breach if too many in a row were given up."""
        self._given_up = [*self._given_up, ack] if given_up else []
        if len(self._given_up) >= MAX_GIVEN_UP_IN_A_ROW:
            self.model.note(rules.of_configures_given_up(self._given_up))
            del self._given_up[:-MAX_GIVEN_UP_IN_A_ROW]

    def count_reading(self, *, bound: bool) -> None:
        """Counts the facts in a Get of a machine at rest."""
        self.judged.update((*READING, "MET-1" if bound else "MET-2"))
