"""Every clause and every behaviour, as data: read without importing the suite."""

from __future__ import annotations

import difflib
import fnmatch
import tomllib
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from typing import TYPE_CHECKING

from conformance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


class Level(StrEnum):
    """What a clause decides: the verdict, a warning, or nothing."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One sentence of the contract."""

    id: str
    level: Level
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One behaviour: which clause it judges, at which level, and how it looks at it.

    `needs` names the capabilities without which it does not apply; `since` is the first release that had it.
    `rests_on` names the behaviours without which it proves nothing of its own: where one of those failed too, this
    failure is a consequence.
    """

    id: str
    clause: Clause
    level: Level
    title: str
    observed: str
    since: str
    needs: tuple[str, ...] = ()
    rests_on: tuple[str, ...] = ()
    retired: str | None = None

    @property
    def area(self) -> str:
        """The three letters before the clause's number."""
        return self.id.partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All clauses and all live behaviours, in the contract's order."""

    clauses: tuple[Clause, ...]
    entries: tuple[Entry, ...]

    def __getitem__(self, behaviour_id: str) -> Entry:
        """The entry with just this id; UsageError with the nearest one where there is none."""
        for entry in self.entries:
            if entry.id.lower() == behaviour_id.lower():
                return entry
        raise UsageError(f"no behaviour {behaviour_id!r}", hint=self._nearest(behaviour_id))

    def match(self, patterns: Sequence[str]) -> frozenset[str]:
        """The ids that a pattern names: an id, a clause, an area, or a glob.

        Raises UsageError for a pattern that names nothing.
        """
        chosen: set[str] = set()
        for pattern in patterns:
            found = {entry.id for entry in self.entries if _names(pattern.strip(), entry)}
            if not found:
                raise UsageError(f"{pattern!r} matches no behaviour", hint=self._nearest(pattern))
            chosen |= found
        return frozenset(chosen)

    def select(self, select: Sequence[str], exclude: Sequence[str]) -> tuple[Entry, ...]:
        """The entries that `select` names (none: all) less those that `exclude` names.

        Raises UsageError where a pattern matches nothing or nothing is left.
        """
        wanted = self.match(select) if select else frozenset(entry.id for entry in self.entries)
        left = wanted - self.match(exclude)
        if not left:
            raise UsageError("the selection leaves no behaviour", hint="loosen --exclude")
        return tuple(entry for entry in self.entries if entry.id in left)

    def among(self, ids: Collection[str]) -> tuple[Entry, ...]:
        """The entries with these ids, each resting on the nearest of them, past all that are not there."""
        grounds = {entry.id: entry.rests_on for entry in self.entries}

        def nearest(entry: Entry) -> Entry:
            if all(name in ids for name in entry.rests_on):
                return entry
            known: dict[str, None] = {}
            layer = list(entry.rests_on)
            while layer:
                known |= dict.fromkeys(layer)
                layer = [below for name in layer if name not in ids for below in grounds[name] if below not in known]
            return replace(entry, rests_on=tuple(name for name in known if name in ids))

        return tuple(nearest(entry) for entry in self.entries if entry.id in ids)

    def _nearest(self, text: str) -> str:
        names = {name for entry in self.entries for name in (entry.id, entry.clause.id, entry.area)}
        known = {name.upper(): name for name in sorted(names)}
        near = [known[name] for name in difflib.get_close_matches(text.upper(), known, n=3, cutoff=0.5)]
        listing = "`conformance list` shows them all"
        return f"did you mean {', '.join(near)}? {listing}" if near else listing


def clause_of(behaviour_id: str) -> str:
    """The clause that a behaviour judges: `FEN-3a` -> `FEN-3`."""
    return behaviour_id.rstrip("abcdefghijklmnopqrstuvwxyz")


def patterns(given: Iterable[str]) -> tuple[str, ...]:
    """The patterns that a repeated option holds, each with one or several between commas."""
    return tuple(part.strip() for text in given for part in text.split(",") if part.strip())


def _names(pattern: str, entry: Entry) -> bool:
    wanted = pattern.upper()
    return wanted in {entry.area, entry.clause.id.upper(), entry.id.upper()} or fnmatch.fnmatchcase(
        entry.id.upper(), wanted
    )


@cache
def load() -> Catalogue:
    """The catalogue that lies in this package."""
    return parse((resources.files("conformance") / "catalogue.toml").read_text(encoding="utf-8"))


def parse(text: str) -> Catalogue:
    """A catalogue from its TOML.

    Raises ValueError where an entry names no clause, repeats an id, lacks a field, or rests on itself in the end.
    """
    raw = tomllib.loads(text)
    clauses = {
        name: Clause(id=name, level=Level(body["level"]), text=" ".join(body["text"].split()))
        for name, body in raw["clause"].items()
    }
    entries: dict[str, Entry] = {}
    for name, body in raw["behaviour"].items():
        clause = clauses.get(clause_of(name))
        if clause is None or name == clause.id:
            raise ValueError(f"behaviour {name} names no clause")
        unknown = body.keys() - {"title", "observed", "since", "needs", "rests_on", "level", "retired"}
        if unknown:
            raise ValueError(f"behaviour {name} has unknown keys {sorted(unknown)}")
        lacking = sorted({"title", "observed", "since"} - body.keys())
        if lacking:
            raise ValueError(f"behaviour {name} lacks {', '.join(map(repr, lacking))}")
        entries[name] = Entry(
            id=name,
            clause=clause,
            level=Level(body.get("level", clause.level)),
            title=body["title"],
            observed=" ".join(body["observed"].split()),
            since=body["since"],
            needs=tuple(body.get("needs", ())),
            rests_on=tuple(body.get("rests_on", ())),
            retired=body.get("retired"),
        )
    live = {name: entry for name, entry in entries.items() if entry.retired is None}
    _check_grounds(live)
    return Catalogue(clauses=tuple(clauses.values()), entries=tuple(live.values()))


def _check_grounds(entries: Mapping[str, Entry]) -> None:
    unknown = [f"{e.id} rests on {name}" for e in entries.values() for name in e.rests_on if name not in entries]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such behaviour")
    try:
        TopologicalSorter({entry.id: entry.rests_on for entry in entries.values()}).prepare()
    except CycleError as error:
        raise ValueError(f"behaviours rest on each other: {' -> '.join(error.args[1])}") from error


def uncovered(catalogue: Catalogue, *, sections: Collection[str]) -> list[str]:
    """The MUST clauses of `sections` (areas) that no behaviour judges."""
    judged = {entry.clause.id for entry in catalogue.entries}
    return [
        clause.id
        for clause in catalogue.clauses
        if clause.level is Level.MUST and clause.id.partition("-")[0] in sections and clause.id not in judged
    ]
