"""Identifies failures: two runs that find the same defect have the same fingerprint.

A fingerprint covers facts that neither the seed nor the provider's speed changes: the behaviour, its clause, and what
kind of breach it found; for a wrong answer also the RPC and the code. It covers no text. Fingerprints of version 1,
in waivers that an older release wrote, cover the words of the failure, and can still be compared.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import grpc

from conformance.core.lifecycle import State
from conformance.results.symptoms import Kind, symptoms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from conformance.results.result import Result

VERSION, OLD_VERSION = "2", "1"
"""The version of the facts. A new version changes all fingerprints."""
FAMILIES: Final = (
    ("fence", {Kind.FENCE_OPEN, Kind.FENCE_CLOSED, Kind.MARK}),
    ("answer", {Kind.ANSWER}),
    (
        "machine",
        {Kind.STATE, Kind.FAILED, Kind.CLUSTER, Kind.HOST, Kind.LEFT, Kind.RACE, Kind.OPERATION, Kind.ACK, Kind.ID},
    ),
    ("list", {Kind.LIST, Kind.DELTA, Kind.REVISION}),
    ("metadata", {Kind.METADATA}),
    ("field", {Kind.FIELD, Kind.LAST_ERROR}),
)
"""Kinds of breaches between which one defect may change from run to run. The first family of a failure counts."""
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
    """Returns the fingerprint of a failure or a warning: `2:` and 12 hexadecimal digits."""
    return f"{VERSION}:{_digest((result.id, result.entry.clause.id, *facts(result)))}"


def facts(result: Result) -> tuple[str, ...]:
    """Returns the family of the breach; for a wrong answer also each RPC with its code."""
    headline = symptoms(result).headline
    family = next(name for name, kinds in FAMILIES if any(each.kind in kinds for each in headline))
    answers = {f"{each.rpc} {each.code}" for each in headline if each.kind is Kind.ANSWER}
    return family, *(sorted(answers) if family == "answer" else ())


def identifies(fingerprint: str, result: Result) -> bool:
    """Returns whether a failure is the one with this fingerprint, which may be of an older release."""
    if fingerprint.startswith(f"{OLD_VERSION}:"):
        return fingerprint == f"{OLD_VERSION}:{_digest((result.entry.clause.id, *normalized(result)))}"
    return fingerprint == of(result)


def _digest(parts: Iterable[str]) -> str:
    return sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]


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
