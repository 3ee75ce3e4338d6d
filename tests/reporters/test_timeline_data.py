from __future__ import annotations

import json
from dataclasses import replace

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.fencing import MAX_TOKEN_NUMBER
from conformance.reporters.html_report import timeline_data
from conformance.results.result import Status
from tests.values import a_call, a_report, a_result


def test_strings_are_unique_truncated_and_printable() -> None:
    strings = timeline_data.Strings()
    assert [strings("a"), strings("b"), strings("a"), strings("\x1b[31m"), strings("x" * 10_000)] == [0, 1, 0, 2, 3]
    assert strings.table[2] == "\\x1b[31m"
    assert len(strings.table[3]) < 700


def test_a_call_has_lane_outcome_and_observed_states() -> None:
    request = pb.DrainRequest(machine_id="m2", shard_id="s", shard_epoch=MAX_TOKEN_NUMBER, sequence_number=3)
    ack = pb.TransitionAck(operation_id="op", machine=pb.Machine(id="m2", state=pb.MACHINE_STATE_DRAINING))
    result = a_result(calls=(a_call("Drain", request, response=ack),), machines=("m1", "m2"), started=1.0, seconds=0.5)
    value = timeline_data.data(a_report(result))
    behaviour, strings = value["behaviours"]["TST-1a"], value["strings"]
    (call,) = behaviour["calls"]
    rpc, lane, outcome, code, at, duration, requested, response, seen, shard, epoch, sequence = call
    assert (strings[rpc], lane, outcome, strings[code], at, duration) == ("Drain", 1, "a", "OK", 1_000_000, 250_000)
    assert (strings[requested], strings[shard], epoch, sequence) == (
        request_words(request),
        "s",
        str(MAX_TOKEN_NUMBER),
        "3",
    )
    assert "DRAINING" in strings[response]
    assert [value["states"][seen[1]], seen[0]] == ["DRAINING", 1]
    assert value["spans"] == [
        ["TST-1a", "passed", strings.index("The title of TST-1a"), 10**6, 10**6, 1_500_000, [0, 1]]
    ]


def request_words(request: pb.DrainRequest) -> str:
    return a_call("Drain", request).request_text()


def test_a_behaviour_without_machines_has_lanes_for_requested_ids() -> None:
    calls = tuple(a_call(request=pb.MachineRef(id=f"m{number}")) for number in range(20))
    lanes = timeline_data.data(a_report(a_result(calls=calls)))["behaviours"]["TST-1a"]
    assert len(lanes["lanes"]) == timeline_data.MAX_LANES
    assert lanes["calls"][timeline_data.MAX_LANES][1] == -1


def test_outcome_is_fenced_only_for_mutating_calls() -> None:
    refused = a_call(code=grpc.StatusCode.FAILED_PRECONDITION)
    stale = a_call("Drain", pb.DrainRequest(machine_id="m1"), code=grpc.StatusCode.FAILED_PRECONDITION)
    lost = replace(stale, answered=False)
    assert [timeline_data.outcome_kind(call) for call in (a_call(), refused, stale, lost)] == ["a", "r", "f", "u"]


def test_behaviours_that_never_started_are_not_drawn() -> None:
    value = timeline_data.data(a_report(a_result(Status.SKIPPED, reason="no tls")))
    assert (value["spans"], value["behaviours"], value["critical_path"]) == ([], {}, [])


def test_text_cannot_end_the_script_element() -> None:
    call = a_call(details="</script><!-- \u2028 & <script>", code=grpc.StatusCode.ABORTED)
    text = timeline_data.embedded(a_report(a_result(calls=(call,))))
    assert not set("<>&\u2028\u2029") & set(text)
    assert any("</script><!-- \\u2028 & <script>" in string for string in json.loads(text)["strings"])
