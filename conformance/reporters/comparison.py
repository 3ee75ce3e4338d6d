"""Shows a comparison of two runs, as changes since a baseline or side by side: text, Markdown and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.core.text import cut, escape_markdown, printable, quantity
from conformance.results.comparison import Kind
from conformance.results.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conformance.results.comparison import Change, Comparison, Side
    from conformance.results.result import Result

SHOWN = (
    *(Kind.NEWLY_FAILING, Kind.FAILS_DIFFERENTLY, Kind.NEWLY_UNJUDGED, Kind.NEWLY_SKIPPED, Kind.NEWLY_PASSING),
    *(Kind.NEWLY_COVERED, Kind.GONE, Kind.STILL_FAILING, Kind.STILL_UNJUDGED),
)
"""The changes that are shown with a baseline, in this order. `ANSWERS_DIFFER` matters only between implementations."""
MAX_CHARACTERS = 160
STATUS_WORDS = {Status.ERROR: "not judged"}
NO_EFFECT = "does not affect the verdict"


# A run and its baseline.


def lines(comparison: Comparison) -> list[str]:
    """Returns the changes since the baseline: a summary, then a line for each behaviour."""
    counts = [f"{len(found)} {kind}" for kind in SHOWN if (found := comparison.of(kind))]
    shown = [f"baseline   {_name_of(comparison.before)}: {', '.join(counts) or 'no changes'}"]
    for kind in SHOWN:
        heads = comparison.heads(kind)
        shown += [f"  {kind}"] * bool(heads)
        for change, others in heads:
            shown.append(f"    {change.id:8}{_sentence(change)}")
            shown += [f"            {_consequences(others)}"] * bool(others)
    shown += [f"  target    {trait.name}: was {trait.before}, is {trait.after}" for trait in comparison.traits]
    if comparison.unselected:
        shown.append(f"  not run   {quantity(comparison.unselected, 'behaviour')} of the baseline (partial run)")
    if comparison.slower:
        shown.append(f"  slower    median grew by more than {comparison.tolerance} ({NO_EFFECT})")
        shown += [f"    {each.rpc:10}{_ms(each.before)} -> {_ms(each.after)}" for each in comparison.slower]
    return list(map(printable, shown))


def markdown_lines(comparison: Comparison) -> list[str]:
    """Returns the changes since the baseline as Markdown: a heading, and a list for each kind of change."""
    shown = [f"## Changes since {escape_markdown(_name_of(comparison.before))}", ""]
    for kind in SHOWN:
        heads = comparison.heads(kind)
        if heads:
            shown += [f"**{kind}** ({len(comparison.of(kind))})", ""]
            for change, others in heads:
                shown.append(f"- **{change.id}** {escape_markdown(_sentence(change))}")
                shown += [f"  - {_consequences(others)}"] * bool(others)
            shown.append("")
    if not comparison.of(*SHOWN):
        shown += ["No changes.", ""]
    shown += [f"- {t.name}: was {escape_markdown(t.before)}, is {escape_markdown(t.after)}" for t in comparison.traits]
    if comparison.slower:
        shown += [f"Slower: median grew by more than {comparison.tolerance} ({NO_EFFECT})", ""]
        shown += [
            f"- {escape_markdown(each.rpc)}: {_ms(each.before)} → {_ms(each.after)}" for each in comparison.slower
        ]
    return shown


def _name_of(side: Side) -> str:
    when = f", {side.started}" if side.started else ""
    return f"{side.name} ({side.target}{when})"


def _sentence(change: Change) -> str:
    """Returns a behaviour's title and its change."""
    now, was = change.after, change.before
    parts = [change.result.entry.title]
    match change.kind:
        case Kind.NEWLY_FAILING | Kind.STILL_FAILING:
            parts.append(_got(now))
        case Kind.FAILS_DIFFERENTLY:
            parts += [_got(now), f"before: {_got(was)}"]
        case Kind.NEWLY_UNJUDGED | Kind.STILL_UNJUDGED | Kind.NEWLY_SKIPPED:
            parts.append(cut(now.reason if now is not None else "", MAX_CHARACTERS))
        case _:
            pass
    if was is None and change.kind is not Kind.NEWLY_COVERED:
        parts.append("not in the baseline")
    if change.cause is not None:
        parts.append(f"depends on {change.cause}")
    return " — ".join(filter(None, parts))


def _consequences(others: Sequence[Change]) -> str:
    return f"causes {quantity(len(others), 'other change')}: {', '.join(change.id for change in others)}"


def _got(result: Result | None) -> str:
    return cut(result.got or result.reason, MAX_CHARACTERS) if result is not None else ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


# Two runs side by side.


def text(comparison: Comparison, *, everything: bool = False) -> str:
    """Returns two runs side by side. `everything` includes differences that are normal between runs of one provider."""
    shown = [*_heads(comparison)]
    rows = list(_rows(comparison, everything=everything))
    if rows:
        names, width = (max(len(row[column]) for row in rows) for column in (0, 1))
        shown += ["", f"{'':{names}}  {'A':{width}}  B"]
        shown += [f"{name:{names}}  {one:{width}}  {other}".rstrip() for name, one, other in rows]
    shown += ["", *_notes(comparison, everything=everything)]
    return "\n".join(map(printable, shown)) + "\n"


def markdown(comparison: Comparison, *, everything: bool = False) -> str:
    """Returns two runs side by side as a Markdown table."""
    shown = [*(f"- {escape_markdown(head)}" for head in _heads(comparison)), ""]
    rows = list(_rows(comparison, everything=everything))
    if rows:
        shown += ["| | A | B |", "|---|---|---|"]
        shown += [
            f"| {escape_markdown(name.strip())} | {escape_markdown(one)} | {escape_markdown(other)} |"
            for name, one, other in rows
        ]
        shown.append("")
    shown += map(escape_markdown, _notes(comparison, everything=everything))
    return "\n".join(shown) + "\n"


def _heads(comparison: Comparison) -> Iterator[str]:
    for letter, side in (("A", comparison.before), ("B", comparison.after)):
        part = "" if side.whole else ", partial run"
        yield f"{letter} {side.name}: {cut(side.target, 80)} · kit {side.version} · {side.verdict}{part}"


def _rows(comparison: Comparison, *, everything: bool) -> Iterator[tuple[str, str, str]]:
    """Yields a row for each difference: its name, its value in A, its value in B."""
    for trait in comparison.traits:
        yield trait.name, cut(trait.before, MAX_CHARACTERS), cut(trait.after, MAX_CHARACTERS)
    for change, others in comparison.heads(*(kind for kind in Kind if kind.differs or everything)):
        yield change.id, _outcome(change.before), _outcome(change.after)
        for rpc, (before, after) in change.codes().items():
            if before and after:
                yield f"  {rpc}", ", ".join(before), ", ".join(after)
        if others:
            yield "  causes", "", ", ".join(other.id for other in others)


def _outcome(result: Result | None) -> str:
    if result is None:
        return "not run"
    status = STATUS_WORDS.get(result.status, result.status.value)
    reason = f": {_got(result)}" if result.status is not Status.PASSED else ""
    return f"{status}{reason}"


def _notes(comparison: Comparison, *, everything: bool) -> Iterator[str]:
    if everything:
        for each in comparison.slower:
            yield f"{each.rpc} is slower in B: median {_ms(each.before)} -> {_ms(each.after)} ({NO_EFFECT})"
    if comparison.unselected:
        yield f"not selected in B: {quantity(comparison.unselected, 'behaviour')} of A"
    same = comparison.of(Kind.STILL_FAILING)
    if same:
        yield f"same failure in both: {', '.join(change.id for change in same)}"
    counts = [f"{kind} ({len(found)})" for kind in Kind if kind.differs and (found := comparison.of(kind))]
    counts += [f"target properties ({len(comparison.traits)})"] * bool(comparison.traits)
    if comparison.differs:
        yield f"A and B differ: {', '.join(counts) or 'selected behaviours'}"
    else:
        yield "no differences"


# For programs.


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Returns the comparison as JSON types."""
    return {
        "differs": comparison.differs,
        "before": _side_dict(comparison.before),
        "after": _side_dict(comparison.after),
        "changes": [
            {
                "id": change.id,
                "kind": change.kind.value,
                "differs": change.kind.differs,
                "cause": change.cause,
                "before": _result_dict(change.before),
                "after": _result_dict(change.after),
                "codes": {rpc: {"before": list(b), "after": list(a)} for rpc, (b, a) in change.codes().items()},
            }
            for change in comparison.changes
        ],
        "unselected": comparison.unselected,
        "found": [{"name": t.name, "before": t.before, "after": t.after} for t in comparison.traits],
        "slower": [
            {"rpc": each.rpc, "before": round(each.before, 6), "after": round(each.after, 6)}
            for each in comparison.slower
        ],
        "tolerance": {"factor": comparison.tolerance.factor, "seconds": comparison.tolerance.least},
    }


def _side_dict(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "target": side.target,
        "run": side.run,
        "started": side.started,
        "kit": side.version,
        "verdict": side.verdict,
        "whole": side.whole,
    }


def _result_dict(result: Result | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {
        "status": result.status.value,
        "reason": result.reason,
        "wanted": result.wanted,
        "got": result.got,
    }
