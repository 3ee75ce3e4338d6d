"""The plan of the faults lane."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conformance.core import catalogue
from conformance.lanes import catalogue_file
from conformance.lanes.faults import recording
from conformance.testkit import plans

if TYPE_CHECKING:
    from conformance.lanes.faults.settings import FaultSettings
    from conformance.testkit.behaviour import Plan


def of(settings: FaultSettings) -> Plan:
    """Returns the behaviours of the lane. Those that judge the recording need as many machines as it has triggers."""
    import conformance.lanes.faults as package

    known = replace(catalogue.load(), entries=catalogue_file.entries(package.__name__))
    machines = recording.machines_needed(settings.triggers)
    return tuple(
        replace(each, needs=replace(each.needs, machines=machines)) if each.needs.shares else each
        for each in plans.plan(known, plans.functions(package))
    )
