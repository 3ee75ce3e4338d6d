"""The settings of the rollout lane."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """The settings of one run."""

    failover_within: float | None = None
    """The longest time in seconds for which the address may not serve after a kill; None if it is only measured."""
