"""The lanes, one package each. To add a lane, write a package with a `LANE`, and add its name to `PACKAGES`."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from conformance.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.core.catalogue import Catalogue, Entry
    from conformance.lanes.protocol import Lane, LaneOption
    from conformance.results.kit_coverage import KitCoverage
    from conformance.results.lane_figures import FiguresReader

PACKAGES = [
    "conformance.lanes.suite",
    "conformance.lanes.scale",
    "conformance.lanes.faults",
    "conformance.lanes.durability",
    "conformance.lanes.rollout",
]
"""The first lane is the default. A package imports grpc and the engine only during a run, so that `--help` is fast."""

ALL = "all"
"""The value of `--lane` with which all lanes run in turn."""

IN_EVERY_LANE = ("HST-1a", "HST-1c", "HST-2a", "HST-2b")
"""The behaviours of the suite that the engine judges in every lane with a plan: they need no machine of their own."""


def all_lanes() -> tuple[Lane[Any], ...]:
    """Returns every lane, the default first."""
    return tuple(import_module(package).LANE for package in PACKAGES)


def default() -> Lane[Any]:
    """Returns the default lane: the conformance suite."""
    return all_lanes()[0]


def named(name: str) -> Lane[Any]:
    """Returns the lane of this name. Raises UsageError."""
    for lane in all_lanes():
        if lane.name == name:
            return lane
    raise UsageError(f"unknown lane {name!r}", hint=f"one of {', '.join(lane.name for lane in all_lanes())}")


def options() -> Mapping[str, LaneOption]:
    """Returns the options of all lanes by name. Lanes may share an option if they declare it identically."""
    return {option.name: option for lane in all_lanes() for option in lane.options}


def entries() -> tuple[Entry, ...]:
    """Returns the catalogue entries of all lanes."""
    return tuple(entry for lane in all_lanes() for entry in lane.entries())


def catalogue_of(lane: Lane[Any]) -> Catalogue:
    """Returns the catalogue with the behaviours that runs of one lane judge."""
    from conformance.core import catalogue

    suite = catalogue.load()
    own = lane.entries()
    shared = () if lane.read_figures or own == suite.entries else suite.among(IN_EVERY_LANE)
    return replace(suite, entries=(*own, *shared))


def whole_catalogue() -> Catalogue:
    """Returns the suite's catalogue, with the behaviours of other lanes for the clauses that the suite does not judge.

    A clause without an entry in it is judged by no lane.
    """
    from conformance.core import catalogue

    suite = catalogue.load()
    judged = {entry.clause.id for entry in suite.entries}
    others = [entry for entry in entries() if entry.clause.id not in judged]
    return replace(suite, entries=(*suite.entries, *others))


def kit_coverage(lane: str) -> KitCoverage:
    """Returns the record, for a run of this lane, of the clauses that each lane judges."""
    from conformance.results.kit_coverage import KitCoverage

    clauses = {each.name: tuple(dict.fromkeys(entry.clause.id for entry in each.entries())) for each in all_lanes()}
    return KitCoverage(lane=lane, lanes=clauses)


def lane_of(behaviour_id: str) -> Lane[Any] | None:
    """Returns the lane that judges a behaviour; None if no lane does."""
    wanted = behaviour_id.lower()
    return next((lane for lane in all_lanes() if any(wanted == entry.id.lower() for entry in lane.entries())), None)


def figures_readers() -> Mapping[str, FiguresReader]:
    """Returns the readers of the figures that lanes add to a report, by their keys in report.json."""
    return {lane.name: lane.read_figures for lane in all_lanes() if lane.read_figures is not None}
