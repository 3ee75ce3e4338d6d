"""Builds plans: behaviour functions of a package, each with its entry in a catalogue."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from conformance.testkit.behaviour import Behaviour, declaration_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from conformance.core.catalogue import Catalogue
    from conformance.testkit.behaviour import Plan


def functions(package: ModuleType) -> list[Any]:
    """Returns every behaviour function of the modules of `package`."""
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return [
        f for module in modules for f in vars(module).values() if declaration_of(f) and f.__module__ == module.__name__
    ]


def plan(catalogue: Catalogue, bodies: Iterable[Any], ids: Iterable[str] | None = None) -> Plan:
    """Returns the behaviours among `bodies` in the catalogue's order; if `ids` is given, only those.

    Functions without an entry are ignored. Raises ValueError if two functions have the same entry.
    """
    entries = {entry.id: entry for entry in catalogue.entries}
    found: dict[str, Behaviour] = {}
    for body in bodies:
        behaviour_id, needs = declaration_of(body) or ("", None)
        entry = entries.get(behaviour_id)
        if entry is None or needs is None:
            continue
        if behaviour_id in found:
            raise ValueError(f"{body.__name__} is a second function for {behaviour_id}")
        found[behaviour_id] = Behaviour(entry=entry, needs=needs, body=body)
    wanted = found.keys() & (found if ids is None else set(ids))
    return tuple(replace(found[entry.id], entry=entry) for entry in catalogue.among(wanted))


def among(plan: Plan, catalogue: Catalogue, ids: Iterable[str]) -> Plan:
    """Returns the behaviours of `plan` with these ids, which rest only on others that are left."""
    behaviours = {behaviour.id: behaviour for behaviour in plan}
    entries = catalogue.among(behaviours.keys() & set(ids))
    return tuple(replace(behaviours[entry.id], entry=entry) for entry in entries)
