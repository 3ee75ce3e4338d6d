"""Every clause and every behaviour, as data that is read without importing the suite.

One TOML file per area of the contract holds its clauses and the behaviours that judge them; a lane keeps a file of the
same form in its own package (`read_entries`).

A new behaviour stands behind the last one of its clause and takes the next free letter; `since` is the version in
pyproject.toml. `rests_on` names the behaviours that fail too where this one fails for a reason that is not its own:
docs/kill-matrix.json shows with which ones a similar behaviour fails.

Behaviours are append-only once released (`released.txt`): an id is the clause's with a letter behind it, never changes
its meaning and is never used again. A behaviour that is no longer judged stays, with `retired = "<release>: <why>"`.
"""

from __future__ import annotations

import difflib
import fnmatch
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeVar

from conformance.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

AREAS: Final = (
    *("wire", "lifecycle", "operations", "codes", "fencing", "metadata", "list", "shape"),
    *("failure", "durability", "security", "rollout", "backend"),
)
"""The files of the kit's own catalogue, in the contract's order. Some have clauses only: lanes judge them."""

ORDER: Final = ("FEN", "LIF", "OPS", "COD", "MET", "SEC-1", "LST", "WIR", "SHP", "SEC-2")
"""The order in which behaviours are listed and planned, by the start of their ids; it is the same in all releases."""


class Level(StrEnum):
    """The level of a clause: breaking it fails the verdict (MUST), warns (SHOULD) or is only reported (MAY)."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One sentence of the contract.

    `lane` is the lane that is meant to judge it, if the suite is not. `where` is the condition of a clause that does
    not apply to every provider, as the end of a sentence that starts with "if". `throughout` says what the model of the
    fleet checks in every answer of a run, whoever asked.
    """

    id: str
    level: Level
    text: str
    lane: str = field(default="", compare=False)
    where: str = field(default="", compare=False)
    throughout: str = field(default="", compare=False)

    @property
    def area(self) -> str:
        """The three letters before the clause's number."""
        return self.id.partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One behaviour: the clause that it judges, its level, and what the kit does and observes.

    `level` is the clause's unless the file gives another one. `needs` names the capabilities that the provider must
    have, or the behaviour is skipped. `since` is the first release that had it. `rests_on` names the behaviours that it
    takes for granted: if one of those fails too, this failure is reported as its consequence.
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


_Named = TypeVar("_Named", Clause, Entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All clauses in the contract's order, and all behaviours that are judged in `ORDER`."""

    clauses: tuple[Clause, ...]
    entries: tuple[Entry, ...]

    def __getitem__(self, behaviour_id: str) -> Entry:
        """Returns the entry with this id; raises UsageError that suggests the nearest ids if it is unknown."""
        for entry in self.entries:
            if entry.id.lower() == behaviour_id.lower():
                return entry
        if self.clauses_named(behaviour_id):
            hint = f"this is a clause; `conformance list --select {behaviour_id.upper()}` shows what judges it"
            raise UsageError(f"no behaviour {behaviour_id!r}", hint=hint)
        raise UsageError(f"no behaviour {behaviour_id!r}", hint=self._nearest(behaviour_id))

    def match(self, patterns: Sequence[str]) -> frozenset[str]:
        """Returns the ids that match one of the patterns: each is an id, a clause, an area or a glob.

        Raises UsageError if a pattern matches nothing.
        """
        chosen: set[str] = set()
        for pattern in patterns:
            found = {entry.id for entry in self.entries if _names(pattern.strip(), entry)}
            if not found and (clauses := self.clauses_named(pattern)):
                names = " and ".join(dict.fromkeys(clause.area for clause in clauses))
                hint = f"`conformance list --select {names.replace(' and ', ',')}` shows the clauses"
                raise UsageError(f"no behaviour of the suite judges {pattern.strip()!r}", hint=hint)
            if not found:
                raise UsageError(f"{pattern!r} matches no behaviour", hint=self._nearest(pattern))
            chosen |= found
        return frozenset(chosen)

    def clauses_named(self, pattern: str) -> tuple[Clause, ...]:
        """Returns the clauses that a pattern names: the id, the area or a glob."""
        wanted = pattern.strip().upper()
        return tuple(c for c in self.clauses if wanted in {c.area, c.id} or fnmatch.fnmatchcase(c.id, wanted))

    def unjudged(self) -> tuple[Clause, ...]:
        """Returns the clauses that none of the entries judges."""
        judged = {entry.clause.id for entry in self.entries}
        return tuple(clause for clause in self.clauses if clause.id not in judged)

    def select(self, select: Sequence[str], exclude: Sequence[str]) -> tuple[Entry, ...]:
        """Returns the entries that match `select` (all, if it is empty), without those that match `exclude`.

        Raises UsageError if a pattern matches nothing, or if nothing is left.
        """
        wanted = self.match(select) if select else frozenset(entry.id for entry in self.entries)
        left = wanted - self.match(exclude)
        if not left:
            raise UsageError("the selection leaves no behaviour", hint="loosen --exclude")
        return tuple(entry for entry in self.entries if entry.id in left)

    def among(self, ids: Collection[str]) -> tuple[Entry, ...]:
        """Returns the entries with these ids; in `rests_on`, omitted entries are replaced by the nearest ones kept."""
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
    """Returns the clause that a behaviour judges: `FEN-3a` -> `FEN-3`."""
    return behaviour_id.rstrip("abcdefghijklmnopqrstuvwxyz")


def patterns(given: Iterable[str]) -> tuple[str, ...]:
    """Returns the patterns in a repeated option, whose values may each hold several, separated by commas."""
    return tuple(part.strip() for text in given for part in text.split(",") if part.strip())


def _names(pattern: str, entry: Entry) -> bool:
    wanted = pattern.upper()
    return wanted in {entry.area, entry.clause.id.upper(), entry.id.upper()} or fnmatch.fnmatchcase(
        entry.id.upper(), wanted
    )


@cache
def load() -> Catalogue:
    """Returns the kit's own catalogue."""
    package = resources.files(__name__)
    return parse({f"{area}.toml": (package / f"{area}.toml").read_text(encoding="utf-8") for area in AREAS})


def parse(files: Mapping[str, str]) -> Catalogue:
    """Returns the catalogue in some TOML files, given by name.

    Raises ValueError, one line, if a file cannot be read (see `read_clauses` and `read_entries`), if two files define
    the same id, or if a behaviour rests on an unknown behaviour or, in the end, on itself.
    """
    clauses: dict[str, Clause] = {}
    for source, text in files.items():
        _add(clauses, read_clauses(text, source=source), source)
    entries: dict[str, Entry] = {}
    for source, text in files.items():
        _add(entries, read_entries(text, clauses=clauses, source=source), source)
    live = sorted((entry for entry in entries.values() if entry.retired is None), key=_position)
    check_grounds(live)
    return Catalogue(clauses=tuple(clauses.values()), entries=tuple(live))


def read_clauses(text: str, *, source: str) -> tuple[Clause, ...]:
    """Returns the clauses in one TOML file, in their order.

    Raises ValueError, one line that starts with `source` (the file's name), if the TOML or a clause is malformed.
    """
    with _errors_name(source):
        return tuple(_clause(name, body) for name, body in _tables(text, "clause").items())


def read_entries(text: str, *, clauses: Mapping[str, Clause], source: str) -> tuple[Entry, ...]:
    """Returns the behaviours in one TOML file, retired ones included, in their order.

    Whether they rest on known behaviours is left to `check_grounds`, because the grounds may be in another file.
    Raises ValueError, one line that starts with `source` (the file's name), if the TOML is malformed or a behaviour
    belongs to none of `clauses`, lacks a field or has an unknown one.
    """
    with _errors_name(source):
        return tuple(_entry(name, body, clauses) for name, body in _tables(text, "behaviour").items())


def check_grounds(entries: Iterable[Entry]) -> None:
    """Raises ValueError if one of `entries` rests on a behaviour that is not among them, or in the end on itself."""
    grounds = {entry.id: entry.rests_on for entry in entries}
    unknown = [
        f"{name} rests on {ground}"
        for name, rests_on in grounds.items()
        for ground in rests_on
        if ground not in grounds
    ]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such behaviour")
    try:
        TopologicalSorter(grounds).prepare()
    except CycleError as error:
        raise ValueError(f"behaviours rest on each other: {' -> '.join(error.args[1])}") from error


@contextmanager
def _errors_name(source: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _tables(text: str, kind: str) -> dict[str, dict[str, Any]]:
    raw = tomllib.loads(text)
    unknown = sorted(raw.keys() - {"clause", "behaviour"})
    if unknown:
        raise ValueError(f"unknown tables {unknown}")
    tables: dict[str, dict[str, Any]] = raw.get(kind, {})
    return tables


def _clause(name: str, body: Mapping[str, Any]) -> Clause:
    _check_keys(f"clause {name}", body, required={"level", "text"}, optional={"lane", "where", "throughout"})
    return Clause(
        id=name,
        level=Level(body["level"]),
        text=" ".join(body["text"].split()),
        lane=body.get("lane", ""),
        where=body.get("where", ""),
        throughout=body.get("throughout", ""),
    )


def _entry(name: str, body: Mapping[str, Any], clauses: Mapping[str, Clause]) -> Entry:
    clause = clauses.get(clause_of(name))
    if clause is None or name == clause.id:
        raise ValueError(f"behaviour {name} names no clause")
    _check_keys(
        f"behaviour {name}",
        body,
        required={"title", "observed", "since"},
        optional={"needs", "rests_on", "level", "retired"},
    )
    return Entry(
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


def _check_keys(
    what: str, body: Mapping[str, Any], *, required: Collection[str], optional: Collection[str] = ()
) -> None:
    unknown = sorted(body.keys() - {*required, *optional})
    if unknown:
        raise ValueError(f"{what} has unknown keys {unknown}")
    lacking = sorted(set(required) - body.keys())
    if lacking:
        raise ValueError(f"{what} lacks {', '.join(map(repr, lacking))}")


def _add(known: dict[str, _Named], new: Iterable[_Named], source: str) -> None:
    for each in new:
        if each.id in known:
            raise ValueError(f"{source}: {each.id} is already defined in another file")
        known[each.id] = each


def _position(entry: Entry) -> int:
    return next((number for number, start in enumerate(ORDER) if entry.id.startswith(start)), len(ORDER))


def uncovered(catalogue: Catalogue, *, sections: Collection[str]) -> list[str]:
    """Returns the MUST clauses of `sections` (areas) that no behaviour judges."""
    judged = {entry.clause.id for entry in catalogue.entries}
    return [
        clause.id
        for clause in catalogue.clauses
        if clause.level is Level.MUST and clause.id.partition("-")[0] in sections and clause.id not in judged
    ]
