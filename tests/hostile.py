"""Texts of a hostile provider, and reports that consist of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.results.report import Home
from conformance.results.result import Status
from tests.values import a_call, a_found, a_report, a_result

if TYPE_CHECKING:
    from conformance.results.report import Report

MARKUP = "</script><script>window.harm=1</script><img src=x onerror='window.harm=1'><!--"
TEMPLATE = "{{ 7*7 }}{% raw %}${window.harm=1}"
STEERING = "\x1b[31m\x00\x07\r\n\t\u2028\u2029\u202e\u2066\u200f\ufeff\ud800\uffff"
LONG = "A" * (1 << 20)

TEXTS = {"markup": MARKUP, "template": TEMPLATE, "steering": STEERING, "long": LONG, "all": MARKUP + STEERING + LONG}


def report_of(text: str) -> Report:
    """Returns a report in which every text from a provider, or from a log, is `text`."""
    wired = text.encode("utf-8", "replace").decode()
    request = pb.ConfigureRequest(machine_id=wired, shard_id=wired, cluster_id=wired, shard_metadata={wired: wired})
    machine = pb.Machine(id=wired, last_error=wired, cluster=wired, shard_metadata={wired: wired})
    calls = (
        a_call("Configure", request, response=pb.TransitionAck(operation_id=wired, machine=machine)),
        a_call("Get", pb.MachineRef(id=wired), code=grpc.StatusCode.ABORTED, details=text),
        a_call("Get", pb.MachineRef(id=wired), response=machine),
    )
    results = [
        a_result(
            status,
            f"TST-{number}a",
            reason=text,
            wanted=text,
            got=text,
            calls=calls,
            decisive=(0, 1) if status is Status.FAILED else (),
            machines=(text,),
            started=1.0,
            seconds=0.5,
        )
        for number, status in enumerate(Status, 1)
    ]
    failed = next(result for result in results if result.status is Status.FAILED)
    results.append(replace(failed, entry=replace(failed.entry, id="TST-9a", rests_on=(failed.id,))))
    return a_report(
        *results,
        run=text,
        target=text,
        quarantined=((text, text),),
        notes=(text,),
        home=Home(left=((text, text),)),
        found=a_found(zones=(text,), health=text, fleet={text: 1}),
        stopped=text,
        lacking=(text,),
        ledger=text,
    )
