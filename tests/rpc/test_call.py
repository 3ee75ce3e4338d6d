from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf import json_format

from conformance.core.errors import NoAnswer, NotObserved
from conformance.core.fencing import Token
from conformance.core.lifecycle import State
from conformance.core.text import MAX_SENT_CHARACTERS
from conformance.rpc.call import (
    STREAM_LOST,
    Call,
    CallLog,
    answers_of,
    cut,
    describe_machine,
    describe_map,
    describe_request,
    describe_response,
    note_unanswered,
    record,
    recording,
    token_of,
)

OK = grpc.StatusCode.OK


def call(
    code: grpc.StatusCode = OK, *, rpc: str = "Get", request: Any = None, response: Any = None, **more: Any
) -> Call:
    fields: dict[str, Any] = {"details": "", "answered": True, "token": None, "started": 0.0, "ended": 0.1}
    return Call(rpc=rpc, request=request or pb.MachineRef(id="m"), code=code, response=response, **(fields | more))


def test_only_a_failed_precondition_of_the_provider_is_fenced() -> None:
    fence = grpc.StatusCode.FAILED_PRECONDITION
    assert call(fence).fenced
    assert not call(grpc.StatusCode.ABORTED).fenced
    assert not call().fenced


@pytest.mark.parametrize("outcome", ["status", "ok", "fenced", "busy", "operation_id"])
def test_the_outcome_of_a_call_without_an_answer_cannot_be_read(outcome: str) -> None:
    lost = call(grpc.StatusCode.UNAVAILABLE, rpc="Drain", answered=False, details="Socket closed")
    with pytest.raises(NoAnswer, match="Drain was not answered: UNAVAILABLE"):
        getattr(lost, outcome)
    assert (lost.answered_ok, lost.answered_busy, lost.cut_off) == (False, False, True)
    assert issubclass(NoAnswer, NotObserved)


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_a_call_that_the_kit_has_ended_is_not_cut_off(code: grpc.StatusCode) -> None:
    lost: dict[str, Any] = {"details": f"{STREAM_LOST}…)", "answered": False}
    assert not call(code, ended_by_kit=True, **lost).cut_off
    assert call(code, **lost).cut_off is (code is grpc.StatusCode.INTERNAL)


def test_an_answer_that_cannot_be_decoded_is_not_cut_off() -> None:
    assert not call(grpc.StatusCode.INTERNAL, answered=False, details="the response cannot be read").cut_off


def test_unanswered_calls_stay_in_the_log_until_they_are_taken_into_account() -> None:
    lost, answered = (call(answered=each) for each in (False, True))
    with recording(CallLog()) as log:
        note_unanswered(lost)
        note_unanswered(call(answered=False, ended_by_kit=True))
        assert log.unanswered == [lost]
        assert answers_of([answered, lost]) == [answered]
        assert log.unanswered == []


def test_an_operation_id_is_an_acks() -> None:
    assert call(response=pb.TransitionAck(operation_id="op-1")).operation_id == "op-1"
    assert call(response=pb.Machine()).operation_id == ""
    assert call(grpc.StatusCode.ABORTED).operation_id == ""


def test_a_call_knows_its_machine() -> None:
    assert call().machine_id == "m"
    assert call(request=pb.DrainRequest(machine_id="d")).machine_id == "d"
    assert call(request=pb.ListFilter(max_results=1)).machine_id == ""


def test_request_json_keeps_tokens_and_ids_exactly() -> None:
    request = pb.DrainRequest(machine_id="m", shard_id="s", shard_epoch=2**63 - 1, sequence_number=2**53 + 1)
    assert json_format.ParseDict(dict(call(request=request).request_json()), pb.DrainRequest()) == request


def test_request_json_has_the_same_placeholder_for_equal_blobs() -> None:
    one, other = (pb.ConfigureRequest(bootstrap_blob=blob) for blob in (b"s3cret", b"0ther"))
    sent = [call(request=request).request_json() for request in (one, one, other)]
    assert sent[0] == sent[1] != sent[2]
    again = json_format.ParseDict(dict(sent[0]), pb.ConfigureRequest()).bootstrap_blob
    assert again.startswith(b"blob-")
    assert b"s3cret" not in again


def test_request_json_truncates_metadata() -> None:
    request = pb.ConfigureRequest(shard_metadata={"k": "v" * 1000})
    assert call(request=request).request_json() == {"shard_metadata": {"k": "v" * 60 + "…(1000 characters)"}}
    assert request.shard_metadata["k"] == "v" * 1000


def test_request_json_truncates_long_strings() -> None:
    assert len(call(request=pb.MachineRef(id="m" * 2**20)).request_json()["id"]) == MAX_SENT_CHARACTERS


def test_machine_states_are_those_of_the_requested_machines() -> None:
    idle, bound = pb.Machine(id="a", state="MACHINE_STATE_IDLE"), pb.Machine(id="b", state="MACHINE_STATE_CONFIGURED")
    listing = call(response=pb.MachineList(machines=[idle, bound]))
    assert listing.machine_states(["b", "c"]) == {"b": State.CONFIGURED}
    assert call(response=pb.TransitionAck(machine=idle)).machine_states("a") == {"a": State.IDLE}
    assert call(response=bound).machine_states("ab") == {"b": State.CONFIGURED}
    assert call(grpc.StatusCode.ABORTED).machine_states("ab") == {}


@pytest.mark.parametrize(
    "response",
    [
        pb.Machine(id="a", state="MACHINE_STATE_IDLE", labels={"more": "m" * 2**16}),
        pb.TransitionAck(operation_id="op", machine=pb.Machine(id="a", last_error="e" * 2**16)),
        pb.MachineList(machines=[pb.Machine(id="a"), pb.Machine(id="b")], revision=b"7"),
    ],
    ids=lambda response: type(response).__name__,
)
def test_a_large_response_is_replaced_by_a_summary_with_the_same_text(response: Any) -> None:
    log, heavy = CallLog({"a"}), call(response=response)
    log.add(heavy)
    (light,) = log.calls
    assert light.response != response
    assert str(light) == str(heavy)
    assert light.machine_states({"a", "b"}) == heavy.machine_states({"a"})
    assert light.number == heavy.number


def test_a_small_response_is_kept() -> None:
    log, light = CallLog({"a"}), call(response=pb.TransitionAck(operation_id="op", machine=pb.Machine(id="a")))
    log.add(light)
    assert log.calls == [light]


def test_a_blob_is_never_shown_only_its_size() -> None:
    request = pb.ConfigureRequest(machine_id="m", cluster_id="c", bootstrap_blob=b"s3cret" * 10)
    shown = describe_request(request)
    assert "s3cret" not in shown
    assert "bootstrap_blob=60 bytes" in shown


def test_metadata_is_truncated_in_keys_values_and_number() -> None:
    metadata = {f"{number}{'k' * 100}": "v" * 1000 for number in range(9)}
    shown = describe_request(pb.ConfigureRequest(machine_id="m", shard_metadata=metadata))
    assert len(shown) < 600
    assert "k" * 25 not in shown
    assert "v" * 25 not in shown
    assert "9 keys" in shown


def test_a_small_map_is_shown_completely() -> None:
    assert describe_map({"b": "2", "a": "1"}) == "{'a': '1', 'b': '2'}"


def test_a_request_shows_its_token_in_words() -> None:
    request = pb.CreateRequest(machine_id="m", shard_id="s", shard_epoch=2, sequence_number=3)
    assert describe_request(request) == "m, token 's' epoch 2 sequence 3"
    assert token_of(request) == Token("s", 2, 3)
    assert token_of(pb.MachineRef(id="m")) is None


def test_a_list_shows_its_filter() -> None:
    request = pb.ListFilter(states=[3, 77], max_results=5, since_revision=b"\x00\xff")  # type: ignore[list-item]
    assert describe_request(request) == "states=[IDLE, state 77], max_results=5, since_revision=00ff"


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x1b[31mb", "a\x00b", "a\u202eb", "a\u2028b"])
def test_no_control_character_reaches_a_terminal(text: str) -> None:
    shown = [
        cut(text),
        describe_machine(pb.Machine(id=text, cluster=text, last_error=text, host=pb.HostRef(ref=text))),
        describe_machine(pb.Machine(shard_metadata={text: text})),
        describe_response(pb.TransitionAck(operation_id=text)),
        call(grpc.StatusCode.ABORTED, details=text).outcome(),
        describe_request(pb.DrainRequest(machine_id=text, shard_id=text, grace_period_seconds=1)),
        describe_request(pb.ConfigureRequest(machine_id="m", cluster_id=text)),
    ]
    assert all(one.isprintable() for one in shown), shown


def test_a_text_is_truncated_at_its_limit_and_shows_its_length() -> None:
    assert cut("x" * 60) == "x" * 60
    assert cut("x" * 61) == "x" * 60 + "…(61 characters)"


def test_a_text_is_truncated_before_it_is_escaped() -> None:
    assert len(cut("\x00" * 1000)) < 100


def test_an_outcome_describes_the_response_or_the_status() -> None:
    ack = pb.TransitionAck(operation_id="op-1", machine=pb.Machine(state=pb.MACHINE_STATE_IDLE))
    assert call(response=ack).outcome() == "OK operation 'op-1', IDLE"
    assert call(response=pb.MachineList(machines=[pb.Machine()])).outcome() == "OK 1 machine, revision none"
    assert call(grpc.StatusCode.NOT_FOUND, details="no such").outcome() == "NOT_FOUND: no such"
    assert call(grpc.StatusCode.NOT_FOUND).outcome() == "NOT_FOUND"


def test_a_status_that_the_kit_set_is_marked() -> None:
    lost = call(grpc.StatusCode.UNAVAILABLE, answered=False, details="refused")
    assert lost.outcome() == "UNAVAILABLE (no answer from the provider): refused"


def test_a_machine_is_described_by_its_state_binding_and_failure() -> None:
    machine = pb.Machine(
        state=pb.MACHINE_STATE_FAILED,
        host=pb.HostRef(provider="p", ref="i-1"),
        cluster="c",
        last_error="no disk",
        shard_metadata={"k": "v"},
    )
    assert describe_machine(machine) == "FAILED host i-1 cluster c metadata {'k': 'v'} last_error 'no disk'"


def test_a_call_is_shown_in_one_line() -> None:
    refused = call(
        grpc.StatusCode.ABORTED, rpc="Drain", request=pb.DrainRequest(machine_id="m", shard_id="s"), details="no edge"
    )
    assert str(refused) == "Drain(m, token 's' epoch 0 sequence 0) -> ABORTED: no edge"


def test_a_log_has_only_the_calls_of_its_task_and_of_tasks_started_by_it() -> None:
    mine, other = call(), call()

    async def scenario() -> CallLog:
        async def later() -> None:
            record(mine)

        outside = asyncio.create_task(asyncio.sleep(0))
        with recording(CallLog()) as log:
            await asyncio.gather(later(), outside)
        record(other)
        return log

    assert asyncio.run(scenario()).calls == [mine]
