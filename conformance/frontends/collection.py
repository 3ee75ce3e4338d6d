"""Collects behaviours into a plan: the suite's, and those that other lanes have as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance import lanes
from conformance.core import catalogue as catalogues
from conformance.testkit import plans
from conformance.testkit.plans import plan as plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.frontends.settings import Settings
    from conformance.lanes.protocol import Lane
    from conformance.testkit.behaviour import Plan


def functions() -> list[Any]:
    """Returns every behaviour function of `conformance.suite`."""
    import conformance.suite as suite

    return plans.functions(suite)


def chosen(settings: Settings) -> Plan:
    """Returns the plan that the settings of a run describe; () for a lane that has none. Raises UsageError."""
    return select(settings.select, settings.exclude, settings.lane, settings.lane_settings)


def select(select: Sequence[str], exclude: Sequence[str], lane: Lane[Any] | None = None, settings: Any = None) -> Plan:
    """Returns a plan of the behaviours that `select` matches (all if empty) and `exclude` does not.

    They are those of the suite, or of another `lane` with its `settings`. Raises UsageError if a pattern matches no
    behaviour, or if no behaviour is left.
    """
    if lane is None:
        known = catalogues.load()
        return plan(known, functions(), (entry.id for entry in known.select(select, exclude)))
    known = lanes.catalogue_of(lane)
    whole = lane.plan(settings)
    ids = {behaviour.id for behaviour in whole}
    if whole:
        whole += tuple(b for b in plan(catalogues.load(), functions(), lanes.IN_EVERY_LANE) if b.id not in ids)
    return plans.among(whole, known, (entry.id for entry in known.select(select, exclude))) if whole else ()
