from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.results.evidence import exhibits, repeat_commands
from conformance.results.result import Result, Status
from tests.values import a_call, a_report, a_result

if TYPE_CHECKING:
    from conformance.rpc.call import Call

FENCED = grpc.StatusCode.FAILED_PRECONDITION


def drain(epoch: int, sequence: int, shard: str = "s1", **given: Any) -> Call:
    request = pb.DrainRequest(machine_id="m1", shard_id=shard, shard_epoch=epoch, sequence_number=sequence)
    return a_call("Drain", request, **given)


def failed(wanted: str, *calls: Call, decisive: tuple[int, ...]) -> Result:
    return a_result(Status.FAILED, wanted=wanted, got="something else", calls=calls, decisive=decisive)


@pytest.mark.parametrize(
    ("stale", "why"),
    [
        (drain(1, 9), "Epoch 1 is older than the mark's 2."),
        (drain(2, 5), "In the same epoch, sequence 5 is older than the mark's 6."),
        (drain(2, 6), "The token is equal to the mark, and an equal token is not newer."),
    ],
)
def test_a_stale_call_that_passed_is_explained_with_the_mark(stale: Call, why: str) -> None:
    wanted = f"Drain with token {stale.token} to be fenced: FAILED_PRECONDITION"
    mark, second = exhibits(failed(wanted, a_call(), drain(2, 6), a_call(), stale, decisive=(1, 3)))
    assert (mark.number, mark.role, mark.why) == (1, "This call set the mark", "")
    assert (second.number, second.role, second.why) == (3, "This call should have been fenced", why)


def test_a_newer_call_that_was_fenced_is_explained_with_the_mark() -> None:
    fresh = drain(3, 1, code=FENCED)
    _, second = exhibits(
        failed(f"Drain with token {fresh.token} to pass the fence", drain(2, 6), fresh, decisive=(0, 1))
    )
    assert second.role == "This call should have passed the fence"
    assert second.why == "Epoch 3 is newer than the mark's 2."


def test_a_fenced_first_contact_has_no_mark() -> None:
    fresh = drain(3, 1, code=FENCED)
    (only,) = exhibits(failed(f"Drain with token {fresh.token} to pass the fence", fresh, decisive=(0,)))
    assert (only.role, only.why) == ("This call should have passed the fence", "")


def test_no_concurrent_call_is_singled_out() -> None:
    burst = [drain(5, 7) for _ in range(3)]
    shown = exhibits(failed("at most one of 3 Drains with token x to pass the fence", *burst, decisive=(0, 1, 2)))
    assert [one.role for one in shown[1:]] == ["One of the calls that show the failure"] * 2


def test_tokens_of_two_shards_are_not_compared() -> None:
    shown = exhibits(failed("the fence to hold", drain(2, 1), drain(1, 1, "s2"), decisive=(0, 1)))
    assert [(one.role, one.why) for one in shown] == [("One of the calls that show the failure", "")] * 2


def test_other_failures_are_shown_by_their_call() -> None:
    (only,) = exhibits(failed("Get to answer NOT_FOUND", a_call(), decisive=(0,)))
    assert (only.role, only.why) == ("This call shows the failure", "")


def test_a_passed_result_has_no_exhibits() -> None:
    assert exhibits(a_result(calls=(a_call(),))) == ()


def test_a_failure_is_repeated_on_the_same_target_with_the_same_seed() -> None:
    result = a_result(Status.FAILED)
    assert repeat_commands(a_report(result, target="host; rm -rf /", ledger="/state/cpc-1.ndjson"), result) == (
        "conformance-run --target 'host; rm -rf /' --select TST-1a --seed 7",
        "conformance show TST-1a",
    )


def test_a_failure_in_a_report_directory_is_repeated_by_replay_and_grpcurl() -> None:
    result = a_result(Status.FAILED, calls=(a_call(), a_call()), decisive=(1,))
    first, _, descriptors, *sent = repeat_commands(a_report(result, ledger="out/ledger.ndjson"), result)
    assert first == "conformance replay out/events.ndjson TST-1a"
    assert descriptors.startswith("conformance proto descriptors")
    assert len(sent) == 1
    assert sent[0].startswith("grpcurl ")
