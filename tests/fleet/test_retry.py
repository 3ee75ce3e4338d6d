"""Tests the retries of a mutating call without a provider: their tokens, and the violations that they show."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.fencing import Shard, Token
from conformance.core.lifecycle import State, Verb
from conformance.fleet import retry as retries
from conformance.fleet.retry import CallOutcome, MutatingCall, Retry, may_drop, send_with_retry
from conformance.rpc import backoff
from conformance.rpc.call import CallLog, recording
from conformance.rpc.faults.injection import FaultInjection
from conformance.rpc.faults.spec import parse_faults
from tests.values import a_call

if TYPE_CHECKING:
    from conformance.rpc.call import Call

OK, UNAVAILABLE, FENCED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION
FIRST, SECOND = Token("s", 1, 1), Token("s", 1, 2)


@pytest.fixture(autouse=True)
def without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY_DELAYS", (0.0,) * 3)
    monkeypatch.setattr(retries, "LOST_CONNECTION_DELAYS", (0.0,) * 3)


def sent_with(
    *answers: grpc.StatusCode | None,
    own: bool = True,
    superseded: bool = False,
    faulty: bool = True,
    operations: tuple[str, ...] = ("op",) * 9,
) -> tuple[CallOutcome, list[Token]]:
    """Returns the outcome of a Create whose attempts are answered with these codes, and the tokens that were sent.

    None stands for a lost connection. With faults, the response to the first attempt is dropped.
    """
    faults = FaultInjection(parse_faults(["lost-answer"]), None) if faulty else None
    client: Any = SimpleNamespace(
        faults=faults,
        disconnected=False,
        overload=SimpleNamespace(tolerable=True),
        may_have_been_dropped=lambda call: False,
        lost_connection=lambda call: call.cut_off,
    )
    sent, codes, names = list[Token](), iter(answers), iter(operations)

    async def send(token: Token) -> Call:
        sent.append(token)
        code, answered = next(codes), True
        if code is None:
            code, answered = UNAVAILABLE, False
        request = pb.CreateRequest(
            machine_id="m", shard_id=token.shard, shard_epoch=token.epoch, sequence_number=token.sequence
        )
        ack = pb.TransitionAck(operation_id=next(names), machine=pb.Machine(id="m"))
        call = a_call("Create", request, code=code, response=ack if code is OK else None, answered=answered)
        return faults.lost_answers.withhold(call) if faults and faults.lost_answers.claim("Create", request) else call

    async def next_token() -> Token:
        return SECOND

    shard = Shard(FIRST.shard) if own else None
    call = MutatingCall(
        verb=Verb.CREATE, machine_id="m", token=FIRST, shard=shard, client=client, shared=True, send=send
    )
    retry = Retry(state_before=State.SPECULATIVE, next_token=next_token, superseded=lambda: superseded)
    return asyncio.run(send_with_retry(call, retry, drop_response=may_drop(call))), sent


def test_without_faults_an_answered_call_is_sent_once() -> None:
    outcome, sent = sent_with(OK, faulty=False)
    assert (outcome.call.ok, outcome.violation, sent) == (True, None, [FIRST])


def test_after_a_dropped_response_the_call_is_retried_with_the_spent_token_and_a_fresh_one() -> None:
    outcome, sent = sent_with(OK, FENCED, OK)
    assert (outcome.call.ok, outcome.violation, sent) == (True, None, [FIRST, FIRST, SECOND])


def test_a_spent_token_that_is_accepted_is_a_violation() -> None:
    outcome, sent = sent_with(OK, OK)
    assert outcome.violation is not None
    assert (outcome.violation.clauses, sent) == (("FEN-1", "FEN-6"), [FIRST, FIRST])


def test_a_spent_token_that_is_rejected_for_load_is_not_renewed() -> None:
    outcome, sent = sent_with(OK, UNAVAILABLE, FENCED, OK)
    assert (outcome.call.ok, outcome.violation, sent) == (True, None, [FIRST, FIRST, FIRST, SECOND])


def test_a_retry_with_another_operation_is_a_violation() -> None:
    outcome, _ = sent_with(OK, FENCED, OK, operations=("op", "", "another"))
    assert outcome.violation is not None
    assert outcome.violation.clauses == ("OPS-2",)


@pytest.mark.parametrize("given", [{"own": False}, {"superseded": True}])
def test_a_chosen_token_and_a_superseded_call_are_not_retried_with_a_fresh_token(given: dict[str, Any]) -> None:
    outcome, sent = sent_with(OK, FENCED, **given)
    assert (outcome.call.ok, outcome.violation, sent) == (True, None, [FIRST, FIRST])


@pytest.mark.parametrize("superseded", [False, True])
def test_a_call_that_is_rejected_for_load_is_retried_unless_it_is_superseded(superseded: bool) -> None:
    outcome, sent = sent_with(UNAVAILABLE, OK, faulty=False, superseded=superseded)
    assert outcome.call.ok is not superseded
    assert sent == ([FIRST] if superseded else [FIRST, SECOND])


def test_a_call_whose_connection_is_lost_is_sent_again_with_a_fresh_token() -> None:
    outcome, sent = sent_with(None, None, OK, faulty=False)
    assert (outcome.call.answered_ok, sent) == (True, [FIRST, SECOND, SECOND])


@pytest.mark.parametrize("given", [{"own": False}, {"superseded": True}])
def test_a_lost_call_with_a_chosen_token_or_newer_calls_is_not_sent_again(given: dict[str, Any]) -> None:
    log = CallLog()
    with recording(log):
        outcome, sent = sent_with(None, faulty=False, **given)
    assert (outcome.call.answered, sent) == (False, [FIRST])
    assert log.unanswered == [outcome.call], "no result of this attempt counts"
