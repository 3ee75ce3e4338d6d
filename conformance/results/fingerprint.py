"""How a behaviour failed, told so that two runs against one defect tell the same: no ids, numbers, or prose of others.

What stays is what the kit itself says, with the codes, the states and whether there was anything at all. A status
message is the provider's own prose, and goes; so do the ways that were seen, which depend on when somebody looked.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

import grpc

from conformance.core.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Collection

    from conformance.results.result import Result

VERSION = "1"
"""Of the way in which failures are told. Another one makes another fingerprint of everything."""
SHORTEST_NAME = 3
"""A shorter id may be a word of ours: it stays, unless it has a digit."""

LONGEST = 4096
"""Characters. What a report says of a failure is shorter, unless somebody means harm."""

CODES = "|".join(sorted((code.name for code in grpc.StatusCode), key=len, reverse=True))
STATES = "|".join(state.name for state in State)

PARTS = re.compile(
    rf"""
      (?P<way>\ \(seen:\ [^)]*\))
    | \b(?P<code>{CODES})(?P<unanswered>\ \(no\ answer\ from\ the\ provider\))?
      :\ .*?(?=;\ [A-Z][a-z]+:\ (?:{CODES})\b|$)
    | (?<!\w)b?(?P<quote>['"])(?P<quoted>(?:\\.|(?!(?P=quote)).)*)(?P=quote)
    | (?P<fields>\{{.*?(?=\ and\ then\ |;\ |$))
    | (?P<host>(?<=[A-Z]\ )host\ (?=\w)\S+)
    | (?P<word>[^\s,;:()\[\]'"]*\d[^\s,;:()\[\]'"]*|\b[0-9a-f]{{12,}}\b)
    """,
    re.VERBOSE | re.DOTALL,
)
SEVERAL = re.compile(r"([…#])(?:(?:, | or | and |/)\1)+")
IDLY = re.compile(r"OK operation …, (?:SPECULATIVE|IDLE|CONFIGURED)\b.*|ABORTED|ALREADY_EXISTS")
"""How a call is answered that the fence let pass, and that has nothing to do: once more, or that there is no edge.
Which of the two is up to what the machine was used for before."""


def of(result: Result) -> str:
    """The fingerprint of a failure or a warning: short, and the same for the same defect in every run."""
    digest = sha256("\n".join((result.entry.clause.id, *told(result))).encode("utf-8", "surrogatepass"))
    return f"{VERSION}:{digest.hexdigest()[:12]}"


def told(result: Result) -> tuple[str, str]:
    """What was wanted and what came, without what differs from run to run."""
    names = {*result.machines}
    for call in result.calls:
        names |= {call.machine_id} | ({call.token.shard} if call.token is not None else set())
    wanted, got = plain(result.wanted, names), plain(result.got, names)
    return wanted, "passed" if "to be fenced" in wanted and IDLY.fullmatch(got) else got


def plain(text: str, names: Collection[str] = ()) -> str:
    """`text` without `names` and numbers, nor what a provider says in its own words."""
    text = text[:LONGEST]
    known = sorted((name for name in names if len(name) >= SHORTEST_NAME), key=len, reverse=True)
    if known:
        text = re.sub(rf"(?<![\w-])(?:{'|'.join(map(re.escape, known))})(?![\w-])", "#", text)
    told = SEVERAL.sub(r"\1", PARTS.sub(_plainly, text))
    # Of many alike a report tells the first few, and how many of them there are is up to what was drawn.
    return "; ".join(dict.fromkeys(part.removesuffix(" and # more") for part in told.split("; ")))


def _plainly(match: re.Match[str]) -> str:
    match match.lastgroup:
        case "way":
            return ""
        case "code" | "unanswered":
            return match["code"] + (match["unanswered"] or "")
        case "quoted" | "quote":
            return "…" if match["quoted"] else "''"
        case "fields":
            return "{…}"
        case "host":
            return "host …"
        case _:
            return "#"
