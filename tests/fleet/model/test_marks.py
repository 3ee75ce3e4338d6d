"""The rules about tokens: what breaks each of them, and what does not."""

from __future__ import annotations

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import State, Verb
from tests.fleet.model.telling import Telling
from tests.values import a_call

Status = grpc.StatusCode
OTHER_HOST = pb.HostRef(provider="aws", ref="i-2")
FINE: list[str] = []


def test_a_token_that_is_not_newer_than_one_that_passed_is_fenced() -> None:
    told = Telling().idle()
    told.did(Verb.DRAIN, Status.ABORTED, token=(2, 5))
    told.did(Verb.DRAIN, Status.ABORTED, token=(2, 5))
    told.did(Verb.DELETE, Status.NOT_FOUND, token=(1, 9))
    assert told.found == ["FEN-1a", "FEN-3a"]


def test_a_token_newer_than_all_that_were_sent_passes() -> None:
    told = Telling().idle()
    told.did(Verb.DRAIN, Status.FAILED_PRECONDITION, token=(3, 1))
    told.did(Verb.DRAIN, Status.FAILED_PRECONDITION, token=(1, 1), shard="new")
    assert told.found == ["FEN-3b", "FEN-2a"]


@pytest.mark.parametrize(
    ("older", "newer", "closed", "open_"),
    [
        ((1, 8), (1, 9), "FEN-1a", "FEN-1a"),
        ((1, 9), (1, 10), "FEN-10b", "FEN-10b"),
        ((1, 5), (1, 2**31), "FEN-10b", "FEN-10b"),
        ((1, 99), (2, 0), "FEN-3b", "FEN-3a"),
        ((9, 99), (10, 0), "FEN-10a", "FEN-10a"),
        ((2, 5), (2**53, 0), "FEN-10a", "FEN-10a"),
        ((1, 2**63 - 1), (2, 0), "FEN-10e", "FEN-10e"),
    ],
)
def test_a_breach_of_the_order_names_the_behaviour_that_judges_these_numbers(
    older: tuple[int, int], newer: tuple[int, int], closed: str, open_: str
) -> None:
    told = Telling().idle()
    told.did(Verb.DRAIN, Status.ABORTED, token=older, shard="closed")
    told.did(Verb.DRAIN, Status.FAILED_PRECONDITION, token=newer, shard="closed")
    assert told.found == [closed]
    told = Telling().idle()
    told.did(Verb.DRAIN, Status.ABORTED, token=newer, shard="open")
    told.did(Verb.DRAIN, Status.ABORTED, token=older, shard="open")
    assert told.found == [open_]


def test_a_fenced_answer_tells_nothing() -> None:
    for details, found in (("op-long-name is running", ["FEN-4c"]), ("i-1 is bound", FINE), ("the token is old", FINE)):
        told = Telling()
        told.got(State.SPECULATIVE)
        told.did(Verb.CREATE, operation="op-long-name", token=(2, 1))
        verb, request, ticket = told.sent(Verb.DRAIN, token=(1, 1))
        fenced = a_call(verb.value, request, code=Status.FAILED_PRECONDITION, details=details)
        told.model.ended(ticket, fenced)
        assert told.found == found


def test_a_read_is_never_fenced() -> None:
    told = Telling()
    told.model.ended(told.looked(), a_call("Get", pb.MachineRef(id="m1"), code=Status.FAILED_PRECONDITION))
    assert told.found == ["FEN-8a"]


def test_the_marks_of_the_run_are_told_oldest_first() -> None:
    told = Telling().idle()
    told.did(Verb.DRAIN, Status.ABORTED, token=(2, 5), shard="one")
    told.did(Verb.DRAIN, Status.FAILED_PRECONDITION, token=(2, 5), shard="one")
    told.did(Verb.DRAIN, Status.UNAVAILABLE, token=(7, 7), shard="busy")
    tokens = [(machine_id, mark.numbers) for machine_id, mark in told.model.passed()]
    assert ("m1", (2, 5)) in tokens
    assert ("m1", (7, 7)) not in tokens


@pytest.mark.parametrize("machine_id", ["m1", "m2"])
def test_any_token_that_was_sent_may_explain_a_fenced_one(machine_id: str) -> None:
    told = Telling().idle()
    lost = told.sent(Verb.DRAIN, token=(3, 1), machine_id=machine_id)
    told.answered(lost, Status.UNAVAILABLE, answered=False)
    told.did(Verb.DRAIN, Status.FAILED_PRECONDITION, token=(3, 1))
    told.did(Verb.DRAIN, Status.FAILED_PRECONDITION, token=(2, 1))
    assert told.found == FINE


def test_of_two_concurrent_calls_either_may_be_fenced() -> None:
    told = Telling().idle()
    older, newer = told.sent(Verb.DRAIN, token=(3, 1)), told.sent(Verb.DRAIN, token=(3, 2))
    told.answered(newer, Status.ABORTED)
    told.answered(older, Status.ABORTED)
    assert told.found == FINE


def test_other_shards_and_invalid_tokens_are_not_judged() -> None:
    told = Telling(owned=False)
    for token in ((1, -1), (-1, 1)):
        told.did(Verb.DRAIN, Status.FAILED_PRECONDITION, token=token, shard="negative")
    request = pb.DrainRequest(machine_id="m1", shard_id="claim-1", shard_epoch=1, sequence_number=1)
    ticket = told.model.sending("Drain", request)
    told.model.ended(ticket, a_call("Drain", request, code=Status.FAILED_PRECONDITION))
    assert told.found == FINE
