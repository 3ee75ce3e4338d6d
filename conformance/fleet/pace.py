"""The shortest times that a run has seen: of calls, and of transitions.

A minimum over a run hardly depends on how busy the kit's computer is, so it shows what the provider does. The time from
sending the call until a Get that shows the end is never shorter than the transition itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from conformance.core.lifecycle import Verb

MARGIN_S: Final = 0.01
MARGIN_SHARE: Final = 0.25
"""Seconds for each call, and the share of the calls' shortest times, that the kit may lose. If it loses more, that is
not the provider's doing."""


class Pace:
    """The shortest times of one run, in seconds."""

    def __init__(self) -> None:
        self._calls: dict[str, float] = {}
        self._transitions: dict[Verb, float] = {}

    def note_call(self, rpc: str, seconds: float) -> None:
        """Records a call that was answered OK. Of a mutating RPC, only calls that start a transition count."""
        self._calls[rpc] = min(seconds, self._calls.get(rpc, math.inf))

    def note_transition(self, verb: Verb, seconds: float) -> None:
        """Records the time from sending the call until a reading that shows the target state."""
        self._transitions[verb] = min(seconds, self._transitions.get(verb, math.inf))

    def shortest_call(self, rpc: str) -> float:
        """Returns the shortest time of a call; 0 without any."""
        return self._calls.get(rpc, 0.0)

    def shortest_transition(self, verb: Verb) -> float:
        """Returns a time that one transition of `verb` did not exceed; infinite if none was seen to end."""
        return self._transitions.get(verb, math.inf)

    def observable(self, verb: Verb, rpc: str = "Get", *, calls: int = 1) -> float:
        """Returns the time within which `calls` calls like `rpc`, sent after the ack of `verb`, can be answered."""
        shortest = self.shortest_call(verb.value) + calls * self.shortest_call(rpc)
        return shortest + max(calls * MARGIN_S, MARGIN_SHARE * shortest)
