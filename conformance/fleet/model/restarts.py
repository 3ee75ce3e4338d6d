"""Breaches across a restart of the provider: they are breaches of durability (§10), or of rollout (§13)."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from conformance.core.catalogue import clause_of
from conformance.fleet.model.rules import USED_OPERATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.breach import Breach


class Ending(StrEnum):
    """The way in which the provider ended before it was started again."""

    KILL = "kill"
    STOP = "orderly stop"
    UPGRADE = "orderly stop of the older version"
    ROLLING = "orderly stop of one replica"
    FAILOVER = "kill of one replica"


class Judges(NamedTuple):
    """The behaviours that judge what must outlive a restart."""

    at_rest: str
    marks: str
    operations: str
    new_operations: str
    cut: str
    """The behaviour that judges a transition that was cut short."""


JUDGES: Final = {
    Ending.KILL: Judges("DUR-1a", "DUR-1b", "DUR-1c", "DUR-2a", "DUR-3b"),
    Ending.STOP: Judges("ROL-1a", "ROL-1b", "ROL-1a", "ROL-1a", "ROL-1c"),
    Ending.UPGRADE: Judges(*("ROL-3a",) * 5),
    Ending.ROLLING: Judges(*("ROL-4a",) * 5),
    Ending.FAILOVER: Judges(*("ROL-5a",) * 5),
}
USED_OPERATIONS: Final = frozenset({USED_OPERATION, *(judges.new_operations for judges in JUDGES.values())})
"""The behaviours of an operation id that was used before."""
KINDS: Final = {
    **dict.fromkeys(("LIF-3", "LIF-4", "LIF-5", "LIF-6", "LST-1", "LST-4", "MET-1", "MET-2", "MET-3"), "at_rest"),
    **dict.fromkeys(("FEN-1", "FEN-3", "FEN-10"), "marks"),
    **dict.fromkeys(("LIF-1", "LIF-2"), "cut"),
    "OPS-2": "operations",
    "OPS-3": "new_operations",
}
"""The field of `Judges` by the clause that a breach names."""


def across(breach: Breach, restarts: Sequence[tuple[float, Ending]]) -> Breach:
    """Returns the breach as one of durability or rollout if the provider was restarted between first and last call.

    `restarts` are the ends of the provider in order, each with its time on the run's clock; the last one decides.
    """
    if len(breach.calls) < 2:
        return breach
    first, last = breach.calls[0], breach.calls[-1]
    between = [ending for at, ending in restarts if first.ended <= at <= last.started]
    kind = KINDS.get(clause_of(breach.behaviour))
    if not between or kind is None:
        return breach
    judge: str = getattr(JUDGES[between[-1]], kind)
    return replace(breach, behaviour=judge, wanted=f"{breach.wanted}, also after a restart")
