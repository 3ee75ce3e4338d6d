"""Shows a comparison of two runs: what is new since a baseline, or both side by side, as text, Markdown and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.core.text import cut, escape_markdown, printable
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
"""What is shown of a run and its baseline, in this order. Different answers matter for two implementations only."""
LONGEST = 160
WORDS = {Status.ERROR: "not judged"}
NEVER = "never a verdict"


# A run and its baseline.


def lines(comparison: Comparison) -> list[str]:
    """Returns what is new since the baseline: a summary, then a line for each behaviour."""
    counted = [f"{len(found)} {kind}" for kind in SHOWN if (found := comparison.of(kind))]
    told = [f"since      {_where(comparison.before)}: {', '.join(counted) or 'nothing is new'}"]
    for kind in SHOWN:
        heads = comparison.heads(kind)
        told += [f"  {kind}"] * bool(heads)
        for change, others in heads:
            told.append(f"    {change.id:8}{_sentence(change)}")
            told += [f"            {_also(others)}"] * bool(others)
    told += [f"  found     {trait.name}: {trait.before}, and now {trait.after}" for trait in comparison.traits]
    if comparison.unselected:
        told.append(f"  not run   {comparison.unselected} of the behaviours there: a selection only")
    if comparison.slower:
        told.append(f"  slower    (the median by more than {comparison.tolerance}; {NEVER})")
        told += [f"    {each.rpc:10}{_ms(each.before)} -> {_ms(each.after)}" for each in comparison.slower]
    return list(map(printable, told))


def markdown_lines(comparison: Comparison) -> list[str]:
    """Returns the same for a pull request: a heading, and a list for each kind of change."""
    told = [f"## Since {escape_markdown(_where(comparison.before))}", ""]
    for kind in SHOWN:
        heads = comparison.heads(kind)
        if heads:
            told += [f"**{kind}** ({len(comparison.of(kind))})", ""]
            for change, others in heads:
                told.append(f"- **{change.id}** {escape_markdown(_sentence(change))}")
                told += [f"  - {_also(others)}"] * bool(others)
            told.append("")
    if not comparison.of(*SHOWN):
        told += ["Nothing is new.", ""]
    told += [f"- {t.name}: {escape_markdown(t.before)}, and now {escape_markdown(t.after)}" for t in comparison.traits]
    if comparison.slower:
        told += [f"Slower (the median by more than {comparison.tolerance}; {NEVER})", ""]
        told += [f"- {escape_markdown(each.rpc)}: {_ms(each.before)} → {_ms(each.after)}" for each in comparison.slower]
    return told


def _where(side: Side) -> str:
    when = f", {side.started}" if side.started else ""
    return f"{side.name} ({side.target}{when})"


def _sentence(change: Change) -> str:
    """Returns a behaviour's title and what changed."""
    now, was = change.after, change.before
    parts = [change.result.entry.title]
    match change.kind:
        case Kind.NEWLY_FAILING | Kind.STILL_FAILING:
            parts.append(_got(now))
        case Kind.FAILS_DIFFERENTLY:
            parts += [_got(now), f"and not {_got(was)}"]
        case Kind.NEWLY_UNJUDGED | Kind.STILL_UNJUDGED | Kind.NEWLY_SKIPPED:
            parts.append(cut(now.reason if now is not None else "", LONGEST))
        case _:
            pass
    if was is None and change.kind is not Kind.NEWLY_COVERED:
        parts.append("it was not in that run")
    if change.cause is not None:
        parts.append(f"it rests on {change.cause}")
    return " — ".join(filter(None, parts))


def _also(others: Sequence[Change]) -> str:
    return f"so also {len(others)} more, which rest on it: {', '.join(change.id for change in others)}"


def _got(result: Result | None) -> str:
    return cut(result.got or result.reason, LONGEST) if result is not None else ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


# Two runs side by side.


def text(comparison: Comparison, *, everything: bool = False) -> str:
    """Returns two runs side by side. With `everything` also what may differ between two runs of one provider."""
    told = [*_heads(comparison)]
    rows = list(_rows(comparison, everything=everything))
    if rows:
        names, width = (max(len(row[column]) for row in rows) for column in (0, 1))
        told += ["", f"{'':{names}}  {'A':{width}}  B"]
        told += [f"{name:{names}}  {one:{width}}  {other}".rstrip() for name, one, other in rows]
    told += ["", *_notes(comparison, everything=everything)]
    return "\n".join(map(printable, told)) + "\n"


def markdown(comparison: Comparison, *, everything: bool = False) -> str:
    """Returns the same as a Markdown table."""
    told = [*(f"- {escape_markdown(head)}" for head in _heads(comparison)), ""]
    rows = list(_rows(comparison, everything=everything))
    if rows:
        told += ["| | A | B |", "|---|---|---|"]
        told += [
            f"| {escape_markdown(name.strip())} | {escape_markdown(one)} | {escape_markdown(other)} |"
            for name, one, other in rows
        ]
        told.append("")
    told += map(escape_markdown, _notes(comparison, everything=everything))
    return "\n".join(told) + "\n"


def _heads(comparison: Comparison) -> Iterator[str]:
    for letter, side in (("A", comparison.before), ("B", comparison.after)):
        part = "" if side.whole else ", a selection only"
        yield f"{letter} {side.name}: {cut(side.target, 80)} · kit {side.version} · {side.verdict}{part}"


def _rows(comparison: Comparison, *, everything: bool) -> Iterator[tuple[str, str, str]]:
    """Yields a row for each difference: its name, its value in A, its value in B."""
    for trait in comparison.traits:
        yield trait.name, cut(trait.before, LONGEST), cut(trait.after, LONGEST)
    for change, others in comparison.heads(*(kind for kind in Kind if kind.differs or everything)):
        yield change.id, _ended(change.before), _ended(change.after)
        for rpc, (before, after) in change.codes().items():
            if before and after:
                yield f"  {rpc}", ", ".join(before), ", ".join(after)
        if others:
            yield "  so also", "", ", ".join(other.id for other in others)


def _ended(result: Result | None) -> str:
    if result is None:
        return "not run"
    word = WORDS.get(result.status, result.status.value)
    why = f": {_got(result)}" if result.status is not Status.PASSED else ""
    return f"{word}{why}"


def _notes(comparison: Comparison, *, everything: bool) -> Iterator[str]:
    if everything:
        for each in comparison.slower:
            yield f"{each.rpc} is slower in B: {_ms(each.before)} -> {_ms(each.after)} in the median; {NEVER}"
    if comparison.unselected:
        yield f"{comparison.unselected} behaviours of A were not selected in B"
    both = comparison.of(Kind.STILL_FAILING)
    if both:
        yield f"both fail alike: {', '.join(change.id for change in both)}"
    counts = [f"{len(found)} {kind}" for kind in Kind if kind.differs and (found := comparison.of(kind))]
    counts += [f"{len(comparison.traits)} found otherwise"] * bool(comparison.traits)
    if comparison.differs:
        yield f"B is not as A: {', '.join(counts) or 'another selection'}"
    else:
        yield "nothing differs"


# For programs.


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Returns the whole comparison as JSON's own types."""
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
