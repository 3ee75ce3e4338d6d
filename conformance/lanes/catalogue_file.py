"""Reads the behaviours of a lane from the catalogue.toml in its package."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from conformance.core import catalogue

if TYPE_CHECKING:
    from conformance.core.catalogue import Entry


@cache
def entries(package: str) -> tuple[Entry, ...]:
    """Returns the entries of the lane in `package`: each judges a clause of the kit's own catalogue.

    An id is the clause's id and the lane's name (`LST-6scale`). Raises ValueError, in one line, if the file is
    malformed or a behaviour rests on an unknown one.
    """
    text = (resources.files(package) / "catalogue.toml").read_text(encoding="utf-8")
    clauses = {clause.id: clause for clause in catalogue.load().clauses}
    found = catalogue.read_entries(text, clauses=clauses, source=f"{package}/catalogue.toml")
    catalogue.check_grounds(found)
    return found
