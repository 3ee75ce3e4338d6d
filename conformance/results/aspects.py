"""Tells which clause a breach is about if all failures of a cause show the same side of it. Pure functions.

Several clauses are broken by the same kind of breach: a call that passes the fence may be one of FEN-1, of FEN-6 or of
FEN-7. An aspect is what tells them apart, and only together: one failure with a mark that a refused call set may be
about the fence of its RPC, but if all of them have such a mark, accepted calls set marks, and refused ones do not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc

from conformance.results.symptoms import Kind, symptoms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.results.result import Result
    from conformance.rpc.call import CallView

CLUSTER: Final = re.compile(r"not to show a cluster|^cluster\b")
METADATA: Final = re.compile(r"\bkey '|\bshard_metadata\b|\b[1-9]\d* metadata keys?")
FENCED: Final = grpc.StatusCode.FAILED_PRECONDITION


class Aspect(NamedTuple):
    """One side of a kind of breach, the clause that is about it, and whether a failure shows this side.

    None if the evidence of the failure cannot tell.
    """

    kind: Kind
    clause: str
    shown_by: Callable[[Result], bool | None]


def namesake(group: Sequence[Result]) -> Result | None:
    """Returns the failure that names the breach of a cause: of the clause to which all its failures of this kind point.

    The first of `group` is its root. None if they show no common aspect, or none of them is of that clause.
    """
    kinds = {result.id: {symptom.kind for symptom in symptoms(result).headline} for result in group}
    for aspect in ASPECTS:
        shown = {result.id: aspect.shown_by(result) for result in group if aspect.kind in kinds[result.id]}
        if group[0].id not in shown or False in shown.values() or True not in shown.values():
            continue
        for result in group:
            same_status = result.status is group[0].status
            if result.id in shown and result.entry.clause.id == aspect.clause and same_status:
                return result
    return None


def _mark_of_refused_calls(result: Result) -> bool | None:
    """Returns whether all calls that should have fenced the last decisive one were refused, though not by the fence.

    If that one was refused too, this cannot tell: the provider may look at the fence last (FEN-4).
    """
    judged = _judged(result)
    if judged is None:
        return None
    to_it = [call for call in result.calls if call is not judged and call.machine_id == judged.machine_id]
    earlier = [call for call in to_it if call.started <= judged.ended and _numbers(call) >= _numbers(judged)]
    codes = {call.code for call in earlier if _passed(call, judged)}
    if grpc.StatusCode.OK in codes:
        return False
    return True if codes and judged.code is grpc.StatusCode.OK else None


def _only_the_cluster(result: Result) -> bool:
    """Returns whether a cluster is all that a binding left."""
    return bool(CLUSTER.search(result.wanted) or CLUSTER.search(result.got)) and not METADATA.search(result.got)


def _judged(result: Result) -> CallView | None:
    """Returns the last decisive call, if it has a token."""
    last = result.calls[result.decisive[-1]] if result.decisive else None
    return None if last is None or last.token is None else last


def _same_shard(call: CallView, judged: CallView) -> bool:
    shards = [each.token.shard for each in (call, judged) if each.token is not None]
    return call.answered and len(shards) == 2 and shards[0] == shards[1]


def _passed(call: CallView, judged: CallView) -> bool:
    return _same_shard(call, judged) and call.code is not FENCED


def _numbers(call: CallView) -> tuple[int, int]:
    return call.token.numbers if call.token is not None else (0, 0)


ASPECTS: Final = (
    Aspect(Kind.FENCE_OPEN, "FEN-6", _mark_of_refused_calls),
    Aspect(Kind.LEFT, "LIF-6", _only_the_cluster),
)
"""The aspects that tell clauses apart. The first one that fits counts."""
