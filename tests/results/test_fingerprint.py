from __future__ import annotations

import pytest

from conformance.results import fingerprint
from conformance.results.result import Status
from tests.values import a_call, a_result

SAME = [
    # ids, tokens and operations
    (
        "Create with token 'cpc-81a798ab-m1' epoch 1 sequence 15 to pass the fence",
        "Create with token 'cpc-314e335c-fen-3b-1-s1' epoch 5 sequence 2 to pass the fence",
    ),
    ("OK operation 'op-aaecb-1', CREATING", "OK operation 'op-1-77', CREATING"),
    ('OK operation "it\'s 7", IDLE host i-09cc', "OK operation 'x', IDLE host rack-nine"),
    ("CONFIGURED host i-1 cluster cpc-47d49d9a-m1-cluster", "CONFIGURED host i-2 cluster cpc-1-m9-cluster"),
    # the provider's own prose
    ("INTERNAL: a lock was poisoned", "INTERNAL: request 7f3a; try again"),
    ("INTERNAL (no answer from the provider): x", "INTERNAL (no answer from the provider): y; z"),
    ("Get: INTERNAL: a lock; List: INTERNAL: b", "Get: INTERNAL: c: d; List: INTERNAL: e"),
    # what depends on when somebody looked, or on what was drawn
    ("settled at IDLE host i-1 (seen: DELETING -> IDLE)", "settled at IDLE host i-2 (seen: IDLE)"),
    ("no key 'a'; no key 'b'; no key 'c' and 3 more", "no key 'x' and 1 more"),
    ("List of everything to hold ['machine-0008']", "List of everything to hold ['m-1', 'm-2', 'm-3']"),
    ("the delta since 383939313333333330313935", "the delta since deadbeefdeadbeef"),
    ("an ack after 1.2 s, when all was over", "an ack after 0.73 s, when all was over"),
    (
        'allocatable resources { key: "pods" value: "234" } …(169 characters) and then empty',
        'allocatable resources { key: "cpu" value: "16" } and then empty',
    ),
    ("8: op-a20e7-1, op-a20e7-2", "3: op-0abf2-2, op-0abf2-3, op-0abf2-4"),
]
OTHERS = [
    ("OK operation 'op-1', CREATING", "OK operation 'op-1', IDLE"),
    ("INTERNAL: x", "UNAVAILABLE: x"),
    ("UNAVAILABLE: x", "UNAVAILABLE (no answer from the provider): x"),
    ("Create to be answered OK", "Drain to be answered OK"),
    ("cluster ''", "cluster 'c1'"),
    ("no key 'a'", "unknown key 'a'"),
    ("Get: INTERNAL: a; List: INTERNAL: b", "Get: INTERNAL: a; List: UNAVAILABLE: b"),
    ("allocatable { a } and then empty", "allocatable { a } and then { b }"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_differs_from_run_to_run_goes(one: str, other: str) -> None:
    assert fingerprint.plain(one) == fingerprint.plain(other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_what_tells_one_failure_from_another_stays(one: str, other: str) -> None:
    assert fingerprint.plain(one) != fingerprint.plain(other)


def test_words_of_ours_with_an_apostrophe_open_no_quotation() -> None:
    assert fingerprint.plain("another shard's token, and 'x'") == "another shard's token, and …"


def test_ids_without_a_digit_are_known_by_the_calls_and_go_as_whole_words() -> None:
    told = [
        fingerprint.normalized(a_result(Status.FAILED, wanted=f"{name} to be IDLE", got=f"{name}-x", machines=(name,)))
        for name in ("alpha", "beta")
    ]
    assert told == [("# to be IDLE", "alpha-x"), ("# to be IDLE", "beta-x")]


@pytest.mark.parametrize("got", ["ABORTED: no edge", "OK operation 'op-1', IDLE host i-1", "ALREADY_EXISTS: it is"])
def test_a_call_that_passed_the_fence_and_had_nothing_to_do_is_one_failure(got: str) -> None:
    wanted = "Drain with token 's' epoch 1 sequence 1 to be fenced: FAILED_PRECONDITION"
    assert fingerprint.normalized(a_result(Status.FAILED, wanted=wanted, got=got))[1] == "passed"
    begun = fingerprint.normalized(a_result(Status.FAILED, wanted=wanted, got="OK operation 'op-1', DRAINING"))
    assert begun[1] == "OK operation …, DRAINING"
    assert fingerprint.normalized(a_result(Status.FAILED, wanted="Drain to be answered OK", got=got))[1] != "passed"


def test_a_fingerprint_is_of_the_clause_too_and_not_of_the_calls_times() -> None:
    one = a_result(Status.FAILED, "TST-1a", wanted="x", got="y", calls=(a_call(),), seconds=1.0)
    assert fingerprint.of(one) == fingerprint.of(a_result(Status.FAILED, "TST-1b", wanted="x", got="y"))
    assert fingerprint.of(one) != fingerprint.of(a_result(Status.FAILED, "TST-2a", wanted="x", got="y"))


@pytest.mark.parametrize(
    "text",
    ["'" * 5000, "INTERNAL: " * 2000, "{" * 9000, "\ud800'\x00\u202e", "1 " * 9000, "# or " * 5000, "'\\" * 500_000],
)
def test_hostile_text_has_a_fingerprint_too(text: str) -> None:
    assert fingerprint.of(a_result(Status.FAILED, wanted=text, got=text)).startswith("1:")
