"""The settings of the faults lane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.lanes.faults.triggers import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.lanes.faults.triggers import Trigger
    from conformance.testkit.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSettings:
    """The settings."""

    triggers: Mapping[str, Trigger] = field(default_factory=lambda: DEFAULTS)
    """The triggers by name."""
    watch: float | None = None
    """Seconds for which a FAILED machine is watched; None: somewhat longer than its transition took."""


def settings_of(trial: Trial) -> FaultSettings:
    """Returns the lane's settings; the defaults for a run without a lane."""
    settings = trial.settings
    return settings if isinstance(settings, FaultSettings) else FaultSettings()
