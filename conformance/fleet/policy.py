"""The policy of a machine: whoever drives it decides how its calls are sent and how its changes are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.core.lifecycle import Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Determines how the machine's calls are sent, and how changes that the kit did not make are handled."""

    insists: bool = False
    """True if calls that the provider rejects for load are retried for a long time: during cleanup."""
    blames_provider: bool = False
    """If true, unexplained state changes count as provider violations."""
    drop_responses: frozenset[Verb] = frozenset()
    """The verbs whose next response is dropped, if fault injection drops responses."""
