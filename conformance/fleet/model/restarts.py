"""Breaches across a restart of the provider: they are breaches of durability (§10)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from conformance.core.catalogue import clause_of
from conformance.fleet.model.rules import USED_OPERATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.breach import Breach

AT_REST, MARKS, OPERATIONS, NEW_OPERATIONS = "DUR-1a", "DUR-1b", "DUR-1c", "DUR-2a"
"""The behaviours that judge what must outlive a restart."""
CUT: Final = "DUR-3b"
"""The behaviour that judges a transition that was cut short."""
USED_OPERATIONS: Final = (USED_OPERATION, NEW_OPERATIONS)
"""The behaviours of an operation id that was used before."""
ACROSS: Final = {
    **dict.fromkeys(("LIF-3", "LIF-4", "LIF-5", "LIF-6", "LST-1", "LST-4", "MET-1", "MET-2", "MET-3"), AT_REST),
    **dict.fromkeys(("FEN-1", "FEN-3", "FEN-10"), MARKS),
    **dict.fromkeys(("LIF-1", "LIF-2"), CUT),
    "OPS-2": OPERATIONS,
    "OPS-3": NEW_OPERATIONS,
}
"""The behaviours of durability by the clause that a breach names."""


def across(breach: Breach, restarts: Sequence[float]) -> Breach:
    """Returns the breach as one of durability if the provider was restarted between its first and its last call.

    `restarts` are times on the run's clock.
    """
    if len(breach.calls) < 2:
        return breach
    first, last = breach.calls[0], breach.calls[-1]
    if not any(first.ended <= at <= last.started for at in restarts):
        return breach
    clause = clause_of(breach.behaviour)
    behaviour = ACROSS.get(clause)
    if behaviour is None:
        return breach
    return replace(breach, behaviour=behaviour, wanted=f"{breach.wanted}, also after a restart")
