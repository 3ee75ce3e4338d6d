"""Tests the choice of the clause that names a cause: the one to which all its failures point."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.results.causes import causes
from conformance.results.result import Result, Status
from tests.values import a_call, a_result

if TYPE_CHECKING:
    from conformance.rpc.call import Call

OK, ABORTED = grpc.StatusCode.OK, grpc.StatusCode.ABORTED
FENCED = grpc.StatusCode.FAILED_PRECONDITION
OPEN = "Create with token 's1' to be fenced: FAILED_PRECONDITION"
CLOSED = "Create with token 's1' to pass the fence"


def create(epoch: int, sequence: int, code: grpc.StatusCode, *, machine: str = "m1", at: float = 0.0) -> Call:
    request = pb.CreateRequest(machine_id=machine, shard_id="s1", shard_epoch=epoch, sequence_number=sequence)
    return replace(a_call("Create", request, code=code), started=at, ended=at + 0.1)


def failed(behaviour_id: str, wanted: str, got: str, *calls: Call, rests_on: tuple[str, ...] = ()) -> Result:
    """Returns a failure with these calls, one after another; the last one is decisive."""
    at = tuple(replace(call, started=float(number), ended=number + 0.1) for number, call in enumerate(calls))
    decisive = (len(at) - 1,) if at else ()
    return a_result(Status.FAILED, behaviour_id, rests_on=rests_on, wanted=wanted, got=got, calls=at, decisive=decisive)


def first_cause(*results: Result) -> str:
    (cause,) = causes(results)
    return cause.root.id


def passed_after(behaviour_id: str, mark: grpc.StatusCode, *rests_on: str) -> Result:
    """Returns a failure in which a call with an older token passed after a mark that a call with this answer set."""
    calls = create(2, 6, mark), create(1, 3, OK), create(3, 9, OK)
    return replace(failed(behaviour_id, OPEN, "OK", *calls, rests_on=rests_on), decisive=(0, 1))


def test_marks_that_only_refused_calls_should_have_set_are_about_fen_6() -> None:
    fence, refused = passed_after("FEN-7d", ABORTED), passed_after("FEN-6c", ABORTED, "FEN-7d")
    assert first_cause(fence, refused) == "FEN-6c"
    assert first_cause(fence, refused, passed_after("FEN-1b", OK, "FEN-7d")) == "FEN-7d"


def test_a_fence_that_is_looked_at_last_is_not_about_fen_6() -> None:
    calls = create(2, 6, ABORTED), create(1, 3, ABORTED)
    late = failed("FEN-4b", OPEN, "ABORTED", *calls)
    assert first_cause(late, failed("FEN-6c", OPEN, "ABORTED", *calls, rests_on=("FEN-4b",))) == "FEN-4b"


def test_marks_of_other_machines_tell_nothing_about_refused_calls() -> None:
    fence, refused = passed_after("FEN-7d", ABORTED), passed_after("FEN-6c", ABORTED, "FEN-7d")
    elsewhere = failed("FEN-13a", OPEN, "OK", create(2, 6, OK, machine="m2"), create(1, 3, OK), rests_on=("FEN-7d",))
    assert first_cause(fence, refused, elsewhere) == "FEN-6c"


def test_a_cluster_that_is_left_alone_is_about_lif_6() -> None:
    drain = failed("MET-2a", "Get not to show a cluster at IDLE", "cluster 'c'")
    cluster = failed("LIF-6a", "Get, IDLE, not to show a cluster", "cluster 'c'", rests_on=("MET-2a",))
    both = failed("MET-2b", "the ack of Drain to show the 0 keys that Configure sent", "unknown key 'a'")
    assert first_cause(drain, cluster) == "LIF-6a"
    assert first_cause(drain, cluster, replace(both, entry=replace(both.entry, rests_on=("MET-2a",)))) == "MET-2a"


def test_a_warning_does_not_name_a_failure() -> None:
    drain = failed("MET-2a", "Get not to show a cluster at IDLE", "cluster 'c'")
    cluster = failed("LIF-6a", "Get, IDLE, not to show a cluster", "cluster 'c'", rests_on=("MET-2a",))
    assert first_cause(drain, replace(cluster, status=Status.WARNED)) == "MET-2a"
