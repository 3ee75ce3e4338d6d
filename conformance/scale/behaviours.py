"""What the scale lane judges: clauses of the contract, held over many machines and all through a churn.

Not in the catalogue, which is the conformance lane's: there each behaviour is judged by itself, here all at once. An
id is the clause's with the lane's name behind it, `LST-6scale`.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from conformance import catalogue
from conformance.catalogue import Entry, Level

SUFFIX: Final = "scale"
SINCE: Final = "0.1.0"

_JUDGED: Final[tuple[tuple[str, str, str, tuple[str, ...], tuple[str, ...]], ...]] = (
    (
        "LIF-1",
        "Every transition of the churn is accepted and settles at its far end",
        "Each machine goes round its lifecycle again and again, all at once. A call that has its edge is accepted, or"
        " put off with UNAVAILABLE or RESOURCE_EXHAUSTED and asked again; within patience the machine is at the far"
        " end, or in FAILED with an error.",
        (),
        ("LIF-4",),
    ),
    (
        "LIF-3",
        "What is at rest stays as it is, however much moves around it",
        "Whenever all is at rest, Get shows each machine in the state in which it was left; some of them rest all"
        " through the run.",
        (),
        ("LIF-1", "LIF-4"),
    ),
    (
        "LIF-4",
        "No machine is lost",
        "Get finds every machine that was taken, all through the run.",
        (),
        (),
    ),
    (
        "LIF-5",
        "A host stays the same as long as it lives",
        "Every reading of a machine at rest shows the host that it had when its Create settled.",
        (),
        ("LIF-3",),
    ),
    (
        "LIF-6",
        "A machine shows the cluster that it was bound to, and no other",
        "Whenever a machine is at rest its cluster is that of its last Configure, or none at IDLE.",
        (),
        ("LIF-3",),
    ),
    ("LIF-11", "An ack is about the machine that was asked for", "Every ack names the machine.", (), ()),
    ("OPS-1", "Every ack has an operation id", "Every ack of the churn has one.", (), ()),
    (
        "OPS-2",
        "A retry has the same operation id, also long afterwards",
        "One call in four is repeated, on its way and at rest. Machines that rest all through the run are asked again"
        " whenever all is at rest, however many operations lie between.",
        (),
        ("LIF-3",),
    ),
    (
        "OPS-3",
        "No two transitions have one operation id",
        "The ids of the last 50,000 transitions are remembered, over all machines: a new one is none of them.",
        (),
        (),
    ),
    (
        "COD-3",
        "No fresh token is fenced",
        "Every call of the churn carries a fresh token of its machine's own shard.",
        (),
        (),
    ),
    (
        "FEN-12",
        "A mark outlives the churn",
        "The first token of machines that rest all through the run is sent again at each check: it is fenced.",
        (),
        (),
    ),
    (
        "MET-1",
        "Metadata is what was sent",
        "Every binding has metadata of its own; whenever a machine is at rest, Get shows it byte for byte.",
        (),
        ("LIF-6",),
    ),
    (
        "MET-2",
        "No metadata is left at rest without a binding",
        "Whenever a machine is at rest and not bound, it has none.",
        (),
        ("LIF-6",),
    ),
    (
        "MET-3",
        "No machine shows the binding of another",
        "Every List and every delta, also in full motion: cluster and metadata name the machine they were sent to.",
        (),
        (),
    ),
    (
        "LST-1",
        "Every List holds all of the machines",
        "Every whole List, also in full motion, holds every machine that was taken. Those of others may come and go.",
        (),
        ("LIF-4",),
    ),
    (
        "LST-2",
        "No page is longer than was asked for",
        "Every capped delta.",
        ("revisions",),
        (),
    ),
    ("LST-3", "No machine is listed twice", "Every List and every delta, also in full motion.", (), ()),
    (
        "LST-4",
        "List agrees with Get when all is at rest",
        "Whenever all is at rest, the whole List shows every machine as Get does: state, host, cluster, metadata."
        " It may lag behind for 10 s.",
        (),
        ("LIF-3", "LST-1"),
    ),
    (
        "LST-6",
        "Who follows the deltas knows the fleet",
        "A replica is kept by deltas alone, each since the one before, in full motion too. Whenever all is at rest it"
        " is what Get shows. A delta may lag behind for 10 s.",
        ("revisions",),
        ("LST-4",),
    ),
    (
        "LST-9",
        "Paging through a delta loses no machine",
        "Whenever all is at rest, what has changed since the last time is asked for in pages: it is all there.",
        ("revisions",),
        ("LST-6",),
    ),
)


@cache
def load() -> tuple[Entry, ...]:
    """The lane's entries, in the contract's order."""
    clauses = {clause.id: clause for clause in catalogue.load().clauses}
    return tuple(
        Entry(
            id=name_of(clause),
            clause=clauses[clause],
            level=clauses[clause].level,
            title=title,
            observed=observed,
            since=SINCE,
            needs=needs,
            rests_on=tuple(map(name_of, rests_on)),
        )
        for clause, title, observed, needs, rests_on in _JUDGED
    )


def name_of(clause: str) -> str:
    """`LST-6` -> `LST-6scale`."""
    return f"{clause}{SUFFIX}"


def level_of(clause: str) -> Level:
    """What the clause decides."""
    return next(entry.level for entry in load() if entry.clause.id == clause)
