"""Shell completion for the values of options and arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from conformance.core import catalogue

if TYPE_CHECKING:
    import click


def behaviours(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Returns the ids that begin with `incomplete`, each with its title."""
    entries = catalogue.load().entries
    return [CompletionItem(e.id, help=e.title) for e in entries if e.id.startswith(_upper(incomplete))]


def patterns(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Returns the areas that complete the last pattern of the comma-separated list.

    Clauses and ids are offered once the area is complete, because there are more than 200 of them.
    """
    before, comma, last = incomplete.rpartition(",")
    known, wanted = catalogue.load(), _upper(last)
    offered = {area: f"{area}-1, {area}-2, …" for area in dict.fromkeys(entry.area for entry in known.entries)}
    if "-" in wanted or wanted in offered:
        clauses = dict.fromkeys(entry.clause for entry in known.entries)
        offered |= {clause.id: clause.text for clause in clauses} | {entry.id: entry.title for entry in known.entries}
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
