"""Tells from the evidence of a failure which kinds of breach it shows. Pure functions.

One failure explains another one only if the evidence of the other shows the breach, or one to which it leads. Kinds
are read from the words of `wanted` and `got` and from the calls, never from the behaviour's id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc

from conformance.core.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conformance.core.fencing import Token
    from conformance.results.result import Result
    from conformance.rpc.call import CallView

MAX_CHARACTERS: Final = 1024
"""The length up to which texts are read. The limit protects against hostile providers."""
OK: Final = grpc.StatusCode.OK.name


class Kind(StrEnum):
    """The kind of a breach."""

    FENCE_OPEN = "fence open"
    """A call passed the fence and should not have."""
    FENCE_CLOSED = "fence closed"
    """FAILED_PRECONDITION for a call that should have passed the fence."""
    MARK = "mark"
    """The scope of marks, or numbers that no mark can have."""
    ANSWER = "answer"
    """A call was answered with the wrong code."""
    OPERATION = "operation id"
    RACE = "race"
    """More than one of several racing calls started."""
    DELTA = "delta"
    REVISION = "revision"
    LIST = "list"
    LEFT = "left"
    """A trace of a binding where there should be none."""
    METADATA = "metadata"
    LAST_ERROR = "last error"
    FIELD = "field"
    """A field that does not depend on the state, such as a price."""
    ID = "id"
    ACK = "ack"
    """An ack shows the wrong machine or state."""
    IN_ACK = "in ack"
    """It was seen in an ack, whatever it is."""
    CLUSTER = "cluster"
    HOST = "host"
    STATE = "state"
    FAILED = "failed"
    """A machine ended in FAILED and should not have."""


class Symptom(NamedTuple):
    """A kind of breach; for the fence and for answers with the RPC, and for answers with the code.

    The code of an operation id or a last_error tells whether it was missing.
    """

    kind: Kind
    rpc: str = ""
    code: str = ""


WORDS: Final = tuple(
    (kind, re.compile(words))
    for kind, words in (
        (Kind.MARK, r"^one mark per"),
        (Kind.FENCE_OPEN, r"to be fenced|to a fenced|^at most one of .* to pass the fence|pass the fence only once"),
        (Kind.FENCE_OPEN, r"to answer FAILED_PRECONDITION"),
        (Kind.FENCE_CLOSED, r"to pass the fence"),
        (Kind.RACE, r"racing calls"),
        (Kind.OPERATION, r"operation[_ ]ids?\b|to be an operation"),
        (Kind.DELTA, r"\bdelta\b|\bcursor\b|^pages of"),
        (Kind.REVISION, r"\brevision\b"),
        (Kind.HOST, r"not to (?:show|have) a host"),
        (Kind.LEFT, r"trace of a|both cluster and metadata|show the 0 keys|cluster '' while|not to show a cluster"),
        (Kind.METADATA, r"keys? that Configure sent|^metadata|metadata that was sent"),
        (Kind.LAST_ERROR, r"show a last_error"),
        (
            Kind.FIELD,
            r"show (?:an? |the )?(?:state|instance_type|capacity_type|zone|finite|interruption_probability|Kubernetes"
            r"|resources|allocatable)",
        ),
        (Kind.ID, r"^id |show this id|an empty id|an unknown id"),
        (Kind.ANSWER, r"to answer|to be (?:answered|refused|accepted|acknowledged)|like the call without"),
        (Kind.LIST, r"^(?:a |every |the )?List\b|^at most \d+ machines|^\d+ machines"),
        (Kind.ACK, r"^the ack of [^,]* to show \S+ [A-Z]+ or [A-Z]+$"),
        (Kind.CLUSTER, r"\bcluster\b|\bbound to\b"),
        (Kind.HOST, r"\bhost\b|host\.ref"),
        (Kind.STATE, r""),
    )
)
"""The kinds by the words of `wanted`. The first one that matches counts."""
SAME: Final = re.compile(r": the same ([a-z_, ]+)$")
FIELDS: Final = {
    "cluster": Kind.CLUSTER,
    "shard_metadata": Kind.METADATA,
    "host": Kind.HOST,
    "state": Kind.STATE,
    "last_error": Kind.LAST_ERROR,
    "id": Kind.ID,
}
LEADS_TO: Final = {
    Kind.FENCE_OPEN: {Kind.MARK},
    Kind.FENCE_CLOSED: {Kind.MARK},
    Kind.MARK: {Kind.FENCE_OPEN, Kind.FENCE_CLOSED},
    Kind.STATE: {Kind.ANSWER, Kind.CLUSTER, Kind.HOST, Kind.ACK, Kind.LIST, Kind.RACE, Kind.LEFT, Kind.DELTA},
    Kind.ANSWER: {Kind.STATE, Kind.HOST, Kind.CLUSTER, Kind.RACE},
    Kind.ACK: {Kind.IN_ACK},
    Kind.ID: {Kind.ACK},
    Kind.LIST: {Kind.DELTA, Kind.REVISION},
    Kind.DELTA: {Kind.REVISION},
    Kind.REVISION: {Kind.DELTA},
    Kind.OPERATION: {Kind.RACE},
    Kind.RACE: {Kind.OPERATION, Kind.CLUSTER, Kind.STATE},
    Kind.CLUSTER: {Kind.STATE, Kind.LEFT},
    Kind.LEFT: {Kind.STATE, Kind.CLUSTER, Kind.METADATA},
    Kind.METADATA: {Kind.LEFT},
}
"""The kinds that follow from a kind. A machine in a wrong state, for example, also refuses calls."""
CODES: Final = "|".join(sorted((code.name for code in grpc.StatusCode), key=len, reverse=True))
ANSWERS: Final = re.compile(rf"(?:(?:^|; )(?P<rpc>[A-Z][a-z]+): )?\b(?P<code>{CODES})\b")
NO_ID: Final = Symptom(Kind.OPERATION, code="no id")
NO_ERROR: Final = Symptom(Kind.LAST_ERROR, code="no error")
"""A machine is FAILED without a last_error. Failures that only meet a FAILED machine may follow from it."""
EMPTY: Final = re.compile(r"\bempty\b|''")
WITHOUT_ERROR: Final = re.compile(rf"\b{State.FAILED.name}, to show a last_error")
FAILED: Final = re.compile(rf"\b{State.FAILED.name}\b")
RPCS: Final = re.compile(r"\b(Create|Configure|Drain|Delete|Get|List)s?\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptoms:
    """The breaches in the evidence of one failure."""

    headline: frozenset[Symptom]
    """The breaches that were found, without those that only its calls show."""
    shown: frozenset[Symptom]
    """These, and the ones that its calls show."""
    answers: frozenset[tuple[str, str]]
    """RPC and code of all calls that were answered."""
    decisive: frozenset[tuple[str, str]]
    """RPC and code of the calls that show the failure."""


def symptoms(result: Result) -> Symptoms:
    """Returns the breaches that a failure or a warning shows."""
    decisive = [result.calls[number] for number in result.decisive]
    headline = frozenset(_headline(result.wanted[:MAX_CHARACTERS], result.got[:MAX_CHARACTERS], decisive))
    also = {
        Symptom(Kind.IN_ACK): result.wanted.startswith("the ack of"),
        Symptom(Kind.FAILED): _shows_failed(result),
        NO_ID: any("operation ''" in call.outcome() for call in result.calls),
    }
    return Symptoms(
        headline=headline,
        shown=headline.union(_open_fences(result.calls), (symptom for symptom, shows in also.items() if shows)),
        answers=frozenset((call.rpc, call.code.name) for call in result.calls if call.answered),
        decisive=frozenset((call.rpc, call.code.name) for call in decisive),
    )


def explains(one: Symptoms, other: Symptoms) -> bool:
    """Returns whether the evidence of the other failure shows the breach of `one`, or another one to which it leads."""
    return any(_explains(symptom, other) for symptom in one.headline)


def _explains(symptom: Symptom, other: Symptoms) -> bool:
    leads_to = LEADS_TO.get(symptom.kind, set())
    # A List asks for no machine in particular: that it is refused does not follow from the state of one.
    refused_list = {seen for seen in other.shown if (seen.kind, seen.rpc) == (Kind.ANSWER, "List")}
    follows = any(seen.kind in leads_to for seen in other.shown - refused_list)
    match symptom.kind:
        case Kind.ANSWER if symptom in other.shown:
            return True
        case Kind.ANSWER if symptom.code == OK:
            return follows and symptom[1:] in other.answers
        case Kind.ANSWER:
            return symptom[1:] in other.decisive
        case Kind.OPERATION if symptom == NO_ID:
            return symptom in other.shown
        case Kind.LAST_ERROR if symptom == NO_ERROR and Symptom(Kind.FAILED) in other.shown:
            return True
        case Kind.FENCE_CLOSED if Symptom(Kind.FENCE_OPEN, symptom.rpc) in other.shown:
            # A wrong comparison of tokens opens the fence for some, and closes it for others.
            return True
        case _:
            return follows or any(seen.kind is symptom.kind for seen in other.shown)


def _headline(wanted: str, got: str, decisive: Sequence[CallView]) -> Iterator[Symptom]:
    if same := SAME.search(wanted):
        yield from (Symptom(FIELDS.get(name, Kind.FIELD)) for name in same[1].split(", "))
        return
    if " as it was: " in wanted:
        yield from map(Symptom, (Kind.STATE, Kind.HOST, Kind.CLUSTER, Kind.METADATA))
        return
    kind = next(kind for kind, words in WORDS if words.search(wanted))
    rpcs = RPCS.findall(wanted) or [""]
    match kind:
        case Kind.ANSWER if any(_negative(call.token) for call in decisive):
            yield Symptom(Kind.MARK)
            yield Symptom(Kind.ANSWER, rpcs[0], OK)
        case Kind.ANSWER if got.startswith("FAILED_PRECONDITION"):
            yield Symptom(Kind.FENCE_CLOSED, rpcs[0])
        case Kind.ANSWER:
            answers = [Symptom(kind, found["rpc"] or rpcs[0], found["code"]) for found in ANSWERS.finditer(got)]
            yield from answers or [Symptom(kind, rpcs[0], OK)]
        case Kind.FENCE_OPEN | Kind.FENCE_CLOSED:
            yield from (Symptom(kind, rpc) for rpc in rpcs)
        case Kind.OPERATION if EMPTY.search(got):
            yield NO_ID
        case Kind.LAST_ERROR if WITHOUT_ERROR.search(wanted):
            yield NO_ERROR
        case Kind.LEFT:
            yield Symptom(kind)
            yield from (Symptom(field) for name, field in FIELDS.items() if f"{name} still set" in got)
        case Kind.STATE if FAILED.search(got):
            yield Symptom(Kind.FAILED)
            if "last_error" in wanted:
                yield Symptom(Kind.LAST_ERROR)
        case _:
            yield Symptom(kind)


def _negative(token: Token | None) -> bool:
    return token is not None and min(token.numbers) < 0


class _Accepted(NamedTuple):
    """A call that passed the fence: when it ended, and the numbers of its token."""

    ended: float
    numbers: tuple[int, int]


def _open_fences(calls: Sequence[CallView]) -> Iterator[Symptom]:
    """Yields the calls that passed the fence with a token that is not newer than one accepted for the same machine."""
    accepted: dict[tuple[str, str], list[_Accepted]] = {}
    marks: dict[tuple[str, str], tuple[int, int]] = {}
    for call in sorted(calls, key=lambda call: call.started):
        if call.token is None or not call.answered or call.code is grpc.StatusCode.FAILED_PRECONDITION:
            continue
        key, numbers = (call.token.shard, call.machine_id), call.token.numbers
        running = accepted.setdefault(key, [])
        for one in [one for one in running if one.ended <= call.started]:
            running.remove(one)
            marks[key] = max(one.numbers, marks.get(key, one.numbers))
        if key in marks and numbers <= marks[key]:
            yield Symptom(Kind.FENCE_OPEN, call.rpc)
        running.append(_Accepted(ended=call.ended, numbers=numbers))


def _shows_failed(result: Result) -> bool:
    """Returns whether a machine was seen in FAILED."""
    return bool(FAILED.search(result.got)) or any(
        State.FAILED in call.machine_states(result.machines).values() for call in result.calls
    )
