from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import Violation
from conformance.suite.test_fencing_races import judge_history
from tests.values import a_call

if TYPE_CHECKING:
    from conformance.rpc.call import Call


def drain(epoch: int, code: grpc.StatusCode, *, started: float) -> Call:
    request = pb.DrainRequest(machine_id="m1", shard_id="s", shard_epoch=epoch, sequence_number=1)
    return replace(a_call("Drain", request, code=code), started=started, ended=started + 0.1)


def test_a_call_is_fenced_by_an_earlier_accepted_one() -> None:
    judge_history(
        [
            drain(3, grpc.StatusCode.ABORTED, started=1.0),
            drain(2, grpc.StatusCode.FAILED_PRECONDITION, started=2.0),
        ]
    )


def test_a_call_that_was_rejected_for_load_may_have_moved_the_mark() -> None:
    judge_history(
        [
            drain(3, grpc.StatusCode.UNAVAILABLE, started=1.0),
            drain(2, grpc.StatusCode.FAILED_PRECONDITION, started=2.0),
        ]
    )


def test_a_call_without_an_earlier_newer_one_must_not_be_fenced() -> None:
    with pytest.raises(Violation):
        judge_history(
            [
                drain(2, grpc.StatusCode.FAILED_PRECONDITION, started=1.0),
                drain(3, grpc.StatusCode.ABORTED, started=2.0),
            ]
        )
