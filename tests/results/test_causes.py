"""Causes of failures, and the failures that only follow from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.results.causes import causes
from conformance.results.result import Result, Status
from conformance.results.symptoms import Kind, explains, symptoms
from tests.values import a_call, a_result

if TYPE_CHECKING:
    from conformance.rpc.call import Call

P, F, W, E = Status.PASSED, Status.FAILED, Status.WARNED, Status.ERROR


def broken(behaviour_id: str, *rests_on: str, status: Status = F) -> Result:
    return a_result(status, behaviour_id, rests_on=rests_on)


def causes_of(*results: Result) -> dict[str, list[str]]:
    return {cause.root.id: [result.id for result in cause.consequences] for cause in causes(results)}


def test_a_failure_is_a_consequence_of_a_broken_dependency() -> None:
    assert causes_of(broken("TST-2a", "TST-1a"), broken("TST-1a"), broken("TST-3a", "TST-2a")) == {
        "TST-1a": ["TST-2a", "TST-3a"]
    }


def test_a_failure_with_passed_dependencies_is_a_cause() -> None:
    assert causes_of(a_result(P, "TST-1a"), broken("TST-2a", "TST-1a")) == {"TST-2a": []}


def test_dependencies_are_followed_through_passed_behaviours() -> None:
    whole = a_result(P, "TST-2a", rests_on=["TST-1a"])
    assert causes_of(broken("TST-1a"), whole, broken("TST-3a", "TST-2a")) == {"TST-1a": ["TST-3a"]}


def test_the_first_dependency_that_is_not_a_consequence_is_the_cause() -> None:
    grounds = (a_result(P, "TST-1a"), broken("TST-1b"), broken("TST-1c", "TST-1d"), broken("TST-1d"))
    assert causes_of(*grounds, broken("TST-2a", "TST-1a", "TST-1c", "TST-1b")) == {
        "TST-1b": ["TST-2a"],
        "TST-1d": ["TST-1c"],
    }


def test_failures_and_causes_with_many_consequences_come_first() -> None:
    results = (
        broken("TST-1a", status=W),
        broken("TST-1b", "TST-1a"),
        broken("TST-1c", "TST-1a"),
        broken("TST-2a"),
        broken("TST-3a"),
        broken("TST-3b", "TST-3a"),
    )
    assert list(causes_of(*results)) == ["TST-3a", "TST-2a", "TST-1a"]


def test_of_two_causes_the_one_with_a_mutating_call_comes_first() -> None:
    reads = a_result(F, "TST-1a", calls=(a_call(),), decisive=(0,))
    mutates = a_result(F, "TST-2a", calls=(a_call(), create(1, at=1.0)), decisive=(0, 1))
    assert list(causes_of(reads, mutates)) == ["TST-2a", "TST-1a"]


def test_of_two_causes_the_one_that_a_behaviour_has_provoked_comes_first() -> None:
    outside = replace(broken("TST-1a"), reason="TST-1: wanted x; got y (seen outside the behaviours)")
    assert list(causes_of(outside, broken("TST-2a"))) == ["TST-2a", "TST-1a"]


def test_unjudged_behaviours_are_not_causes() -> None:
    assert causes_of(a_result(E, "TST-1a"), broken("TST-2a", "TST-1a")) == {"TST-2a": []}


# A consequence shows the breach itself.


def create(sequence: int, code: grpc.StatusCode = grpc.StatusCode.OK, *, at: float) -> Call:
    request = pb.CreateRequest(machine_id="m1", shard_id="s1", shard_epoch=1, sequence_number=sequence)
    return replace(a_call("Create", request, code=code), started=at, ended=at + 0.1)


FENCE = "Drain with token s1 epoch 1 sequence 2 to be fenced: FAILED_PRECONDITION"
PASS = "Create with token s1 epoch 1 sequence 2 to pass the fence"
KEYS = "Get of m1, CONFIGURED, to show the 3 keys that Configure sent"


def failed(behaviour_id: str, wanted: str, *rests_on: str, got: str = "", **given: Any) -> Result:
    return a_result(F, behaviour_id, rests_on=rests_on, wanted=wanted, got=got, **given)


def test_lost_metadata_is_not_a_consequence_of_a_fence_that_is_open() -> None:
    fence, metadata = failed("TST-1a", FENCE, got="OK"), failed("TST-2a", KEYS, "TST-1a", got="no key 'a'")
    assert causes_of(fence, metadata) == {"TST-1a": [], "TST-2a": []}


def test_a_chain_through_a_passed_behaviour_does_not_hide_another_defect() -> None:
    middle = a_result(P, "TST-2a", rests_on=["TST-1a"])
    assert causes_of(failed("TST-1a", "a List without duplicates"), middle, failed("TST-3a", KEYS, "TST-2a")) == {
        "TST-1a": [],
        "TST-3a": [],
    }


def test_calls_that_passed_the_fence_make_a_failure_a_consequence() -> None:
    moved = failed("TST-2a", "m1 to be unchanged by fenced calls: the same instance_type", "TST-1a")
    late = replace(moved, calls=(create(5, at=1.0), create(4, at=2.0)))
    fresh = replace(moved, calls=(create(4, at=1.0), create(5, at=2.0)))
    together = replace(moved, calls=(create(5, at=1.0), create(4, at=1.05)))
    fence = failed("TST-1a", FENCE, got="OK")
    open_in = [Kind.FENCE_OPEN in {symptom.kind for symptom in symptoms(r).shown} for r in (late, fresh, together)]
    assert open_in == [True, False, False]
    assert causes_of(fence, late) == {"TST-1a": ["TST-2a"]}
    assert causes_of(fence, fresh) == {"TST-1a": [], "TST-2a": []}


@pytest.mark.parametrize(
    ("first", "second", "explained"),
    [
        ((FENCE, "OK"), (PASS, "FAILED_PRECONDITION: fenced"), False),
        ((PASS, "FAILED_PRECONDITION: x"), ("Create to be refused, with any code but F", "FAILED_PRECONDITION"), True),
        ((KEYS, "no key 'a'"), ("m1 to be unchanged by Drain: the same shard_metadata", "other"), True),
        ((KEYS, "no key 'a'"), ("m1 to be unchanged by Drain: the same host", "other"), False),
        (("m1 to be IDLE", "DRAINING"), ("Configure to be answered OK", "ABORTED: it is DRAINING"), True),
        (("m1 to be IDLE", "DRAINING"), ("List to be answered OK", "INVALID_ARGUMENT: no"), False),
        (("m1 to be IDLE", "DRAINING"), (KEYS, "no key 'a'"), False),
        (("IDLE after Drain", "FAILED"), ("m1 to be IDLE", "CONFIGURED"), False),
        (("IDLE after Drain", "FAILED"), ("m1 to be IDLE", "FAILED with host h"), True),
        (("Create to answer NOT_FOUND", "INTERNAL"), ("Get to answer NOT_FOUND", "INTERNAL"), False),
        (("List of IDLE to contain m1", "nothing"), ("the delta since 12 to show m1", "nothing"), True),
        (("the retry of Create to have operation id 'a'", "'b'"), ("at most one of the racing calls", "2"), True),
        (("the retry of Create to have operation id 'a'", "'b'"), ("m1 to be IDLE", "DRAINING"), False),
        (("an operation_id in the ack", "an empty operation_id"), ("the retry to have operation id 'a'", "'b'"), False),
        (("an operation_id in the ack", "an empty operation_id"), ("a new operation_id for Drain", "'' again"), True),
        (("Get after round 1 not to show a trace of a binding", "shard_metadata still set"), (KEYS, "more"), True),
        (("Create of m1 to leave m2 as it was: IDLE", "m2 CONFIGURED"), ("List to show no host", "h"), True),
        (("Drain of m1 to leave m2 as it was: CONFIGURED, k=v", "m2 CONFIGURED"), (KEYS, "no key 'k'"), True),
        (("List of m1, FAILED, to show a last_error", "none"), ("List of IDLE to contain m2", "m1 FAILED"), True),
        (("Get of m1 to show a last_error only if FAILED", "'x'"), ("List of IDLE to contain m2", "m1 FAILED"), False),
    ],
)
def test_what_a_failure_explains(first: tuple[str, str], second: tuple[str, str], explained: bool) -> None:
    one, other = (symptoms(failed("TST-1a", wanted, got=got)) for wanted, got in (first, second))
    assert explains(one, other) is explained


def test_an_answer_explains_a_failure_whose_decisive_call_has_it() -> None:
    one = symptoms(failed("TST-1a", "Create to be answered OK", got="INTERNAL: no"))
    other = failed("TST-2a", KEYS, calls=(create(1, grpc.StatusCode.INTERNAL, at=1.0), create(2, at=2.0)))
    assert explains(one, symptoms(replace(other, decisive=(0,))))
    assert not explains(one, symptoms(replace(other, decisive=(1,))))


def test_a_negative_number_is_about_marks() -> None:
    one = failed("TST-1a", "Create to answer INVALID_ARGUMENT", got="OK", calls=(create(-1, at=1.0),), decisive=(0,))
    assert Kind.MARK in {symptom.kind for symptom in symptoms(one).headline}


def test_behaviours_that_depend_on_each_other_are_causes() -> None:
    circle = broken("TST-1a", "TST-1b"), broken("TST-1b", "TST-1a")
    assert causes_of(*circle, broken("TST-2a", "TST-1a")) == {"TST-1a": [], "TST-1b": [], "TST-2a": []}
