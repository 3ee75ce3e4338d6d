"""Reports, results and calls with fixed values, for tests of pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.catalogue import Level
from conformance.results.bill import Bill
from conformance.results.report import Home, Report, Time
from conformance.results.result import Result, Status
from conformance.results.target_info import TargetInfo
from conformance.rpc.call import Call, token_of
from tests.runs import entry

if TYPE_CHECKING:
    from collections.abc import Sequence


def a_found(**given: Any) -> TargetInfo:
    """Returns a provider with all capabilities, four slots and one IDLE machine."""
    fields: dict[str, Any] = {
        "fleet": {"SPECULATIVE": 4, "IDLE": 1},
        "delete": True,
        "revisions": True,
        "fence_scope": "shard-machine",
        "tls": False,
        "client_certificate": False,
        "health": "SERVING",
        "reflection": True,
        "spot": True,
        "zones": ("a", "b"),
        "speculative": ("m1", "m2", "m3", "m4"),
        "idle": ("m5",),
    }
    return TargetInfo(**(fields | given))


def a_call(
    rpc: str = "Get",
    request: Any = None,
    *,
    code: grpc.StatusCode = grpc.StatusCode.OK,
    details: str = "",
    response: Any = None,
    answered: bool = True,
) -> Call:
    """Returns a finished call: by default, a Get of `m1` that was answered OK."""
    message = request if request is not None else pb.MachineRef(id="m1")
    return Call(
        rpc=rpc,
        request=message,
        token=token_of(message),
        code=code,
        details=details,
        response=response,
        answered=answered,
        started=1.0,
        ended=1.25,
    )


def a_result(
    status: Status = Status.PASSED,
    behaviour_id: str = "TST-1a",
    *,
    level: Level = Level.MUST,
    rests_on: Sequence[str] = (),
    **given: Any,
) -> Result:
    """Returns a result of a behaviour that is not in the catalogue."""
    return Result(entry=entry(behaviour_id, level=level, rests_on=rests_on), status=status, **given)


def a_report(*results: Result, **given: Any) -> Report:
    """Returns the report of a finished run with these results."""
    fields: dict[str, Any] = {
        "run": "cpc-1",
        "version": "0.1.0",
        "target": "host:1",
        "started": "2026-01-02T03:04:05+00:00",
        "seed": 7,
        "found": a_found(),
        "results": results,
        "quarantined": (),
        "notes": (),
        "bill": Bill(create=1, delete=1, peak_machines=1, machine_seconds=2.5, price=0.25),
        "time": Time(wall=2.0, critical_path=1.5, sum=3.0),
        "home": Home(),
        "rpcs": 12,
        "ledger": "/somewhere/ledger.ndjson",
    }
    return Report(**(fields | given))
