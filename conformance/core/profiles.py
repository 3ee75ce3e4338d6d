"""The profiles that a provider can claim, each with the clauses and properties that it needs.

A verdict is about the clauses that were judged. The profiles say which parts of the contract these are. A run claims a
profile or says why it does not (`results.profiles`). A profile names areas of the contract, not behaviours: once a lane
has behaviours for an area, its runs claim the profile of that area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A part of the contract that a provider can claim."""

    name: str
    purpose: str
    """The meaning of a claim, as the end of a sentence that starts with "a provider that"."""
    areas: tuple[str, ...] = ()
    """The areas of the contract whose behaviours must hold."""
    complete: bool = False
    """True if every MUST clause of its areas must be judged, except those with a condition that may be false (`where`).
    Otherwise a skipped behaviour does not prevent the claim, because the provider legally lacks the feature."""
    clauses: tuple[str, ...] = ()
    """Single clauses that must be judged and hold."""
    lane: str = ""
    """The only lane that can show it; empty if any lane can."""
    needs: tuple[str, ...] = ()
    """Properties that the target must have: `create`, `delete` or `spot`."""
    lacks: tuple[str, ...] = ()
    """Properties that the target must not have."""
    builds_on: str = ""
    """A profile that must be claimed too."""


PROFILES: Final = (
    Profile(
        name="core",
        purpose="keeps all that the kit can judge of a healthy provider and its answers",
        areas=("WIR", "LIF", "OPS", "COD", "FEN", "MET", "LST", "SHP", "SEC", "HST"),
        lane="conformance",
    ),
    Profile(
        name="cloud",
        purpose="starts machines with Create and gives them back with Delete",
        builds_on="core",
        needs=("delete", "create"),
        clauses=("LIF-8",),
    ),
    Profile(
        name="bare-metal",
        purpose="has no Delete: it answers UNIMPLEMENTED, and the machine stays",
        builds_on="core",
        lacks=("delete",),
        clauses=("LIF-8",),
    ),
    Profile(
        name="spot",
        purpose="offers SPOT machines, with prices and interruption probabilities that a shard can use",
        builds_on="core",
        needs=("spot",),
        clauses=("SHP-2",),
    ),
    Profile(
        name="faults",
        purpose="reports transitions that fail or take too long, and recovers from them",
        areas=("FLT",),
        complete=True,
    ),
    Profile(
        name="durable",
        purpose="loses nothing that it acknowledged when it is killed and started again",
        areas=("DUR",),
        complete=True,
    ),
    Profile(
        name="rollout",
        purpose="can be stopped, upgraded and replaced without losing anything that it acknowledged",
        areas=("ROL",),
        complete=True,
    ),
    Profile(
        name="scale",
        purpose="keeps the contract while many machines are driven at once",
        lane="scale",
    ),
)
"""All profiles. Each comes after the one that it builds on."""
