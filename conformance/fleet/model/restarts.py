"""What a restart of the provider changes in a breach: one that lies across it is a breach of durability (§10)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from conformance.core.catalogue import clause_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.breach import Breach

AT_REST, MARKS, OPERATIONS, NEW_OPERATIONS = "DUR-1a", "DUR-1b", "DUR-1c", "DUR-2a"
"""The behaviours that judge what must outlive a restart."""
CUT: Final = {"Create": "DUR-3a", "Configure": "DUR-3b", "Drain": "DUR-3c", "Delete": "DUR-3d"}
"""The behaviours that judge a transition that was cut short, by the RPC that has started it."""
ACROSS: Final = {
    **dict.fromkeys(("LIF-3", "LIF-4", "LIF-5", "LIF-6", "LST-1", "LST-4", "MET-1", "MET-2", "MET-3"), AT_REST),
    **dict.fromkeys(("FEN-1", "FEN-3", "FEN-10"), MARKS),
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
    behaviour = CUT.get(first.rpc) if clause in ("LIF-1", "LIF-2") else ACROSS.get(clause)
    if behaviour is None:
        return breach
    return replace(breach, behaviour=behaviour, wanted=f"{breach.wanted}, also after a restart")
