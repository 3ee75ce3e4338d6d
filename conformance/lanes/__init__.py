"""The lanes, one package each. To add a lane, write a package with a `LANE`, and add its name to `PACKAGES`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from conformance.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.core.catalogue import Entry
    from conformance.lanes.protocol import Lane, LaneOption
    from conformance.results.lane_figures import FiguresReader

PACKAGES = [
    "conformance.lanes.suite",
    "conformance.lanes.scale",
]
"""The first lane is the default. A package imports grpc and the engine only during a run, so that `--help` is fast."""


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


def lane_of(behaviour_id: str) -> Lane[Any] | None:
    """Returns the lane that judges a behaviour; None if no lane does."""
    wanted = behaviour_id.lower()
    return next((lane for lane in all_lanes() if any(wanted == entry.id.lower() for entry in lane.entries())), None)


def figures_readers() -> Mapping[str, FiguresReader]:
    """Returns the readers of the figures that lanes add to a report, by their keys in report.json."""
    return {lane.name: lane.read_figures for lane in all_lanes() if lane.read_figures is not None}
