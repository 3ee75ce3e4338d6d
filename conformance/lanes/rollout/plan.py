"""The plan of the rollout lane."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conformance.core import catalogue
from conformance.lanes import catalogue_file
from conformance.testkit import plans

if TYPE_CHECKING:
    from conformance.testkit.behaviour import Plan


def whole() -> Plan:
    """Returns all behaviours of the lane."""
    import conformance.lanes.rollout as package

    known = replace(catalogue.load(), entries=catalogue_file.entries(package.__name__))
    return plans.plan(known, plans.functions(package))
