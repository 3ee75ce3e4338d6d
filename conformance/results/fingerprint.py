"""Identifies failures: two runs that find the same defect have the same fingerprint.

A fingerprint covers the kit's own words, status codes, machine states, and whether a value was empty. It does not
cover ids, numbers and the provider's own messages, nor the observed sequence of states, which depends on timing.
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
"""The version of the normalization. A new version changes all fingerprints."""
MIN_NAME_CHARACTERS = 3
"""A shorter id could be one of the kit's own words: it is not removed, unless it has a digit."""

MAX_CHARACTERS = 4096
"""Normal failure texts are shorter. The limit protects against hostile providers."""

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
REPEATED_PLACEHOLDER = re.compile(r"([…#])(?:(?:, | or | and |/)\1)+")
NO_EFFECT_ANSWER = re.compile(r"OK operation …, (?:SPECULATIVE|IDLE|CONFIGURED)\b.*|ABORTED|ALREADY_EXISTS")
"""The answers to a call that passed the fence without effect: a repeated ack, or a missing edge.
Which of them comes depends on the earlier use of the machine."""


def of(result: Result) -> str:
    """Returns the fingerprint of a failure or a warning: `1:` and 12 hexadecimal digits."""
    digest = sha256("\n".join((result.entry.clause.id, *normalized(result))).encode("utf-8", "surrogatepass"))
    return f"{VERSION}:{digest.hexdigest()[:12]}"


def normalized(result: Result) -> tuple[str, str]:
    """Returns wanted and got without the parts that differ from run to run."""
    names = {*result.machines}
    for call in result.calls:
        names |= {call.machine_id} | ({call.token.shard} if call.token is not None else set())
    wanted, got = plain(result.wanted, names), plain(result.got, names)
    return wanted, "passed" if "to be fenced" in wanted and NO_EFFECT_ANSWER.fullmatch(got) else got


def plain(text: str, names: Collection[str] = ()) -> str:
    """Returns `text` with placeholders for `names`, numbers and the provider's own words."""
    text = text[:MAX_CHARACTERS]
    known = sorted((name for name in names if len(name) >= MIN_NAME_CHARACTERS), key=len, reverse=True)
    if known:
        text = re.sub(rf"(?<![\w-])(?:{'|'.join(map(re.escape, known))})(?![\w-])", "#", text)
    normal = REPEATED_PLACEHOLDER.sub(r"\1", PARTS.sub(_placeholder, text))
    # Reports show the first of many similar entries; their number depends on random choices.
    return "; ".join(dict.fromkeys(part.removesuffix(" and # more") for part in normal.split("; ")))


def _placeholder(match: re.Match[str]) -> str:
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
