"""The suite as a plan: every behaviour function, matched with its entry of the catalogue."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from conformance.behaviour import Behaviour, declared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.behaviour import Plan
    from conformance.catalogue import Catalogue


def functions() -> list[Any]:
    """Every behaviour function of `conformance.suite`."""
    import conformance.suite as suite

    modules = [importlib.import_module(f"{suite.__name__}.{m.name}") for m in pkgutil.iter_modules(suite.__path__)]
    return [f for module in modules for f in vars(module).values() if declared(f) and f.__module__ == module.__name__]


def plan(catalogue: Catalogue, bodies: Iterable[Any], ids: Iterable[str] | None = None) -> Plan:
    """The behaviours among `bodies` in the catalogue's order, only those in `ids` where given.

    Raises ValueError where a function proves no entry, or two prove one.
    """
    found: dict[str, Behaviour] = {}
    for body in bodies:
        marked = declared(body)
        if marked is None:
            continue
        behaviour_id, needs = marked
        entry = next((e for e in catalogue.entries if e.id == behaviour_id), None)
        if entry is None or behaviour_id in found:
            raise ValueError(
                f"{body.__name__}: {'no such entry' if entry is None else 'a second proof of'} {behaviour_id}"
            )
        found[behaviour_id] = Behaviour(entry=entry, needs=needs, body=body)
    wanted = set(found if ids is None else ids)
    return tuple(found[e.id] for e in catalogue.entries if e.id in found and e.id in wanted)
