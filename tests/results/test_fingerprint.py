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
    # the provider's own words
    ("INTERNAL: a lock was poisoned", "INTERNAL: request 7f3a; try again"),
    ("INTERNAL (no answer from the provider): x", "INTERNAL (no answer from the provider): y; z"),
    ("Get: INTERNAL: a lock; List: INTERNAL: b", "Get: INTERNAL: c: d; List: INTERNAL: e"),
    # timing and random choices
    ("settled at IDLE host i-1 (seen: DELETING -> IDLE)", "settled at IDLE host i-2 (seen: IDLE)"),
    ("no key 'a'; no key 'b'; no key 'c' and 3 more", "no key 'x' and 1 more"),
    ("List of everything to contain ['machine-0008']", "List of everything to contain ['m-1', 'm-2', 'm-3']"),
    ("the delta since 383939313333333330313935", "the delta since deadbeefdeadbeef"),
    ("an ack after 1.2 s, when the transition had ended", "an ack after 0.73 s, when the transition had ended"),
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
def test_parts_that_differ_from_run_to_run_are_not_covered(one: str, other: str) -> None:
    assert fingerprint.plain(one) == fingerprint.plain(other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_different_failures_have_different_fingerprints(one: str, other: str) -> None:
    assert fingerprint.plain(one) != fingerprint.plain(other)


def test_apostrophes_in_the_kits_words_are_not_quotes() -> None:
    assert fingerprint.plain("another shard's token, and 'x'") == "another shard's token, and …"


def test_ids_from_the_calls_are_replaced_as_whole_words() -> None:
    parts = [
        fingerprint.normalized(a_result(Status.FAILED, wanted=f"{name} to be IDLE", got=f"{name}-x", machines=(name,)))
        for name in ("alpha", "beta")
    ]
    assert parts == [("# to be IDLE", "alpha-x"), ("# to be IDLE", "beta-x")]


@pytest.mark.parametrize("got", ["ABORTED: no edge", "OK operation 'op-1', IDLE host i-1", "ALREADY_EXISTS: it is"])
def test_all_answers_without_effect_are_one_failure(got: str) -> None:
    wanted = "Drain with token 's' epoch 1 sequence 1 to be fenced: FAILED_PRECONDITION"
    assert fingerprint.normalized(a_result(Status.FAILED, wanted=wanted, got=got))[1] == "passed"
    started = fingerprint.normalized(a_result(Status.FAILED, wanted=wanted, got="OK operation 'op-1', DRAINING"))
    assert started[1] == "OK operation …, DRAINING"
    assert fingerprint.normalized(a_result(Status.FAILED, wanted="Drain to be answered OK", got=got))[1] != "passed"


def test_a_fingerprint_covers_the_behaviour_but_no_times() -> None:
    one = a_result(Status.FAILED, "TST-1a", wanted="x", got="y", calls=(a_call(),), seconds=1.0)
    assert fingerprint.of(one) == fingerprint.of(a_result(Status.FAILED, "TST-1a", wanted="x", got="y"))
    others = [a_result(Status.FAILED, name, wanted="x", got="y") for name in ("TST-1b", "TST-2a")]
    assert len({fingerprint.of(result) for result in (one, *others)}) == 3


KEYS = "Get of m1 to show the 30 keys that Configure sent"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((KEYS, "no key ''; no key 'b'"), (KEYS, "unknown key 'a' and 2 more")),
        (("Create with token s1 epoch 1 to be fenced", "OK"), ("Drain with token s2 epoch 2 to pass the fence", "F")),
        (("Create to answer NOT_FOUND", "OK operation 'a', CREATING"), ("Create to answer NOT_FOUND", "OK x, IDLE")),
        (("m1 to be IDLE", "CONFIGURED"), ("the retry of Drain to have operation id 'a'", "operation id 'b'")),
        (
            ("m1 to be unchanged by Drain: the same state", "x"),
            ("m1 to be unchanged by Drain: the same host, state", "y"),
        ),
        (("List of IDLE to contain ['a']", "none"), ("List of IDLE to contain ['b', 'c']", "some")),
    ],
)
def test_the_seed_and_the_speed_do_not_change_a_fingerprint(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert of(*one) == of(*other)


def test_other_breaches_of_a_behaviour_have_other_fingerprints() -> None:
    breaches = [
        ("Create with token s1 epoch 1 to be fenced", "OK"),
        ("m1 to be IDLE", "CONFIGURED"),
        (KEYS, "no key 'a'"),
        ("List of IDLE to contain ['a']", "none"),
        ("Get to show a zone", "an empty zone"),
        ("Create to answer NOT_FOUND", "OK operation 'a'"),
        ("Create to answer NOT_FOUND", "INTERNAL: no"),
        ("Get to answer NOT_FOUND", "INTERNAL: no"),
    ]
    assert len({of(*breach) for breach in breaches}) == len(breaches)


def of(wanted: str, got: str) -> str:
    return fingerprint.of(a_result(Status.FAILED, wanted=wanted, got=got))


@pytest.mark.parametrize(
    "text",
    ["'" * 5000, "INTERNAL: " * 2000, "{" * 9000, "\ud800'\x00\u202e", "1 " * 9000, "# or " * 5000, "'\\" * 500_000],
)
def test_hostile_text_has_a_fingerprint(text: str) -> None:
    assert fingerprint.of(a_result(Status.FAILED, wanted=text, got=text)).startswith("2:")
