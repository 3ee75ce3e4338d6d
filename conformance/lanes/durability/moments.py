"""The moments at which a provider is killed: verb, phase and retry, a systematic list in the order of the seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from conformance.core.lifecycle import Verb

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


class Phase(StrEnum):
    """The time of a kill, seen from the call that starts a transition."""

    BEFORE_ACK = "before the ack"
    AFTER_ACK = "immediately after the ack"
    MIDDLE = "in the middle of the transition"
    SETTLED = "as soon as Get showed the end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment. `retry`: the caller repeats its call after the restart before it looks at the machine."""

    verb: Verb
    phase: Phase
    retry: bool = False
    delay: float = 0.0
    """Seconds from the sending of the call to the kill, for a kill before the ack."""

    @property
    def orderly(self) -> bool:
        """False: the provider is killed."""
        return False

    @property
    def at_end(self) -> bool:
        """True if the transition had ended before the kill."""
        return self.phase is Phase.SETTLED

    def __str__(self) -> str:
        when = f"a kill {self.phase} of {self.verb.value}"
        return f"{when} and a retry" if self.retry else when


CIRCLE: Final = (Verb.CONFIGURE, Verb.DRAIN, Verb.DELETE, Verb.CREATE)
"""The edges of an IDLE machine, in the order in which they lead back to IDLE."""
DELAYS_S: Final = (0.0, 0.0005, 0.002)
"""The delays of kills before the ack: before the provider has the call, while it works, and about when it answers."""


def circle(phase: Phase, rng: random.Random, *, deletes: bool) -> Sequence[Moment]:
    """Returns the moments of one phase for every verb; `rng` decides the delays of kills before the ack.

    Verbs with and without a retry alternate, and the other way round in the next phase. Without `deletes`, only the two
    verbs with which an IDLE machine comes back to IDLE.
    """
    first, delays = list(Phase).index(phase), rng.sample(DELAYS_S, len(DELAYS_S))
    verbs = CIRCLE if deletes else CIRCLE[:2]
    return [
        Moment(verb=verb, phase=phase, retry=bool((number + first) % 2), delay=delays[number % len(delays)])
        for number, verb in enumerate(verbs)
    ]


def every_moment(rng: random.Random, *, deletes: bool) -> Sequence[Moment]:
    """Returns the moments of all phases, in the order of the phases."""
    return [moment for phase in Phase for moment in circle(phase, rng, deletes=deletes)]
