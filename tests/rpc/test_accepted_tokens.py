from __future__ import annotations

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.fencing import Token
from conformance.rpc.accepted_tokens import AcceptedTokens
from conformance.rpc.call import Call

OK, FENCED, BUSY = grpc.StatusCode.OK, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE


def a_drain(
    shard: str, epoch: int, sequence: int, code: grpc.StatusCode, *, answered: bool = True, machine: str = "m1"
) -> Call:
    return Call(
        rpc="Drain",
        request=pb.DrainRequest(machine_id=machine),
        token=Token(shard, epoch, sequence),
        code=code,
        details="",
        response=None,
        answered=answered,
        started=0.0,
        ended=0.0,
    )


@pytest.mark.parametrize(
    ("other", "explains"),
    [
        (a_drain("s", 2, 5, OK), True),
        (a_drain("s", 2, 6, grpc.StatusCode.NOT_FOUND), True),
        (a_drain("s", 3, 0, OK), True),
        (a_drain("s", 2, 4, OK), False),
        (a_drain("s", 1, 9, OK), False),
        (a_drain("other", 9, 9, OK), False),
        (a_drain("s", 9, 9, OK, machine="m2"), False),
        (a_drain("s", 9, 9, FENCED), False),
        (a_drain("s", 9, 9, BUSY), False),
        (a_drain("s", 9, 9, OK, answered=False), False),
    ],
)
def test_only_a_newer_or_equal_token_that_passed_explains_a_fenced_call(other: Call, explains: bool) -> None:
    accepted = AcceptedTokens()
    accepted.add(other)
    assert accepted.explain(a_drain("s", 2, 5, FENCED)) is explains


def test_a_read_has_no_token() -> None:
    accepted = AcceptedTokens()
    accepted.add(a_drain("s", 2, 5, OK))
    accepted.add(a_drain("s", 1, 9, OK))
    assert accepted.explain(a_drain("s", 2, 5, FENCED))
