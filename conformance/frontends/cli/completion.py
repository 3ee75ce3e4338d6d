"""Shell completion for the values of options and arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from conformance import lanes
from conformance.core import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

    from conformance.core.catalogue import Catalogue, Clause


def behaviours(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Returns the ids, of all lanes, that begin with `incomplete`, each with its title."""
    return [CompletionItem(e.id, help=e.title) for e in lanes.entries() if e.id.startswith(_upper(incomplete))]


def patterns(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Returns the completions of the last pattern of a comma-separated list that selects behaviours to judge.

    Areas whose clauses no behaviour of the lane judges are not offered: a run cannot select them.
    """
    lane = context.params.get("lane")
    known = lanes.catalogue_of(lanes.named(lane)) if lane else catalogue.load()
    return _completed(known, dict.fromkeys(entry.clause for entry in known.entries), incomplete)


def listed_patterns(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Returns the completions of the last pattern of a comma-separated list that selects behaviours and clauses."""
    known = lanes.whole_catalogue()
    return _completed(known, known.clauses, incomplete)


def _completed(known: Catalogue, clauses: Iterable[Clause], incomplete: str) -> list[CompletionItem[str]]:
    """Returns the areas of the clauses that complete the last pattern.

    Clauses and ids are offered once the area is complete, because there are more than 200 of them.
    """
    before, comma, last = incomplete.rpartition(",")
    wanted = _upper(last)
    texts = {clause.id: clause.text for clause in clauses}
    areas = dict.fromkeys(name.partition("-")[0] for name in texts)
    offered = {area: f"{area}-1, {area}-2, …" for area in areas}
    if "-" in wanted or wanted in offered:
        offered |= texts | {entry.id: entry.title for entry in known.entries}
    return [
        CompletionItem(before + comma + name, help=text) for name, text in offered.items() if name.startswith(wanted)
    ]


def capabilities(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Returns the capabilities that `--require` accepts."""
    from conformance.results.target_info import CAPABILITIES

    return [CompletionItem(name) for name in CAPABILITIES if name.startswith(incomplete)]


def faults(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Returns the kinds of faults; the kinds that need a value end with `=`."""
    from conformance.rpc.faults.spec import FaultKind

    offered = [kind.value + "=" * (kind is not FaultKind.LOST_ANSWER) for kind in FaultKind]
    return [CompletionItem(name) for name in offered if name.startswith(incomplete)]


def _upper(name: str) -> str:
    area, dash, rest = name.partition("-")
    return area.upper() + dash + rest
