"""Hypothesis strategies for reports: with any text, and with live or recorded calls."""

from __future__ import annotations

from typing import Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from hypothesis import strategies as st

from conformance.core.catalogue import Clause, Entry, Level
from conformance.core.lifecycle import State
from conformance.results.bill import Bill
from conformance.results.report import Home, Report, Time
from conformance.results.result import Result, Status
from conformance.results.target_info import CAPABILITIES, TargetInfo
from conformance.rpc.call import CLOCK_DECIMALS, Call, CallView, token_of

TEXTS = st.text(max_size=12) | st.sampled_from(["\x1b[31m<b>&]]>`|@x\n\u202e\u2028\x00", "\ud800", "ä" * 80])
SENDABLE = st.text(st.characters(codec="utf-8"), max_size=80)
IDS = st.sampled_from(["m1", "m2", "m3"]) | TEXTS
SECONDS = st.integers(0, 10**15).map(lambda ns: round(ns / 10**9, CLOCK_DECIMALS))
COUNTS = st.integers(0, 10**6)
IDENTIFIERS = st.from_regex(r"[A-Z]{3}-[1-9][0-9]?[a-c]", fullmatch=True)
CODES = st.sampled_from(list(grpc.StatusCode))
MACHINES = st.builds(
    pb.Machine,
    id=st.sampled_from(["m1", "m2"]) | SENDABLE,
    state=st.integers(0, 12),
    cluster=SENDABLE,
    last_error=SENDABLE,
    shard_metadata=st.dictionaries(SENDABLE, SENDABLE, max_size=2),
)
TOKENS = {"shard_id": SENDABLE, "shard_epoch": st.integers(0, 2**63 - 1), "sequence_number": st.integers(-5, 5)}
REQUESTS = st.one_of(
    st.builds(pb.CreateRequest, machine_id=SENDABLE, **TOKENS),
    st.builds(
        pb.ConfigureRequest,
        machine_id=SENDABLE,
        cluster_id=SENDABLE,
        bootstrap_blob=st.binary(max_size=9),
        shard_metadata=st.dictionaries(SENDABLE, SENDABLE, max_size=2),
        **TOKENS,
    ),
    st.builds(pb.MachineRef, id=SENDABLE),
    st.builds(pb.ListFilter, states=st.lists(st.integers(0, 9), max_size=2), since_revision=st.binary(max_size=5)),
)
RESPONSES = st.one_of(
    st.none(),
    MACHINES,
    st.builds(pb.TransitionAck, operation_id=SENDABLE, machine=MACHINES),
    st.builds(pb.MachineList, machines=st.lists(MACHINES, max_size=2), revision=st.binary(max_size=5)),
)


@st.composite
def calls(draw: st.DrawFn) -> CallView:
    request, started, took = draw(REQUESTS), draw(SECONDS), draw(SECONDS)
    return Call(
        rpc=draw(st.sampled_from(["Create", "Configure", "Get", "List"])),
        request=request,
        token=token_of(request),
        code=draw(CODES),
        details=draw(SENDABLE),
        response=draw(RESPONSES),
        answered=draw(st.booleans()),
        started=started,
        ended=round(started + took, CLOCK_DECIMALS),
    )


@st.composite
def entries(draw: st.DrawFn, behaviour_id: str) -> Entry:
    levels = st.sampled_from(Level)
    clause = Clause(id=behaviour_id.rstrip("abc"), level=draw(levels), text=draw(TEXTS))
    return Entry(
        id=behaviour_id,
        clause=clause,
        level=draw(levels),
        title=draw(TEXTS),
        observed=draw(TEXTS),
        since=draw(TEXTS),
        needs=tuple(draw(st.lists(st.sampled_from(CAPABILITIES), max_size=2))),
        rests_on=tuple(draw(st.lists(IDENTIFIERS, max_size=3))),
    )


@st.composite
def results(draw: st.DrawFn, behaviour_id: str) -> Result:
    made = tuple(draw(st.lists(calls(), max_size=3)))
    indices = st.sets(st.integers(0, len(made) - 1)) if made else st.just(set())
    return Result(
        entry=draw(entries(behaviour_id)),
        status=draw(st.sampled_from(Status)),
        reason=draw(TEXTS),
        wanted=draw(TEXTS),
        got=draw(TEXTS),
        started=draw(SECONDS),
        seconds=draw(SECONDS),
        machines=tuple(draw(st.lists(IDS, max_size=3))),
        calls=made,
        decisive=tuple(sorted(draw(indices))),
    )


FOUND = st.builds(
    TargetInfo,
    fleet=st.dictionaries(st.sampled_from([state.name for state in State]), COUNTS),
    delete=st.booleans(),
    revisions=st.booleans(),
    fence_scope=st.sampled_from(["shard", "shard-machine", None]),
    tls=st.booleans(),
    client_certificate=st.booleans(),
    health=st.none() | TEXTS,
    reflection=st.booleans(),
    spot=st.booleans(),
    zones=st.lists(TEXTS, max_size=3).map(tuple),
    speculative=st.just(()),
    idle=st.just(()),
)
PAIRS = st.dictionaries(IDS, TEXTS, max_size=3).map(lambda pairs: tuple(sorted(pairs.items())))


@st.composite
def reports(draw: st.DrawFn, /, **given: Any) -> Report:
    names = draw(st.lists(IDENTIFIERS, max_size=4, unique=True))
    fields: dict[str, Any] = {
        "run": draw(TEXTS.filter(bool)),
        "version": draw(TEXTS),
        "target": draw(TEXTS),
        "started": draw(st.just("") | st.datetimes().map(lambda at: at.isoformat())),
        "seed": draw(st.integers(0, 2**32)),
        "found": draw(st.none() | FOUND),
        "results": tuple(draw(results(name)) for name in names),
        "quarantined": draw(PAIRS),
        "notes": tuple(draw(st.lists(TEXTS, max_size=2))),
        "bill": draw(
            st.builds(
                Bill,
                create=COUNTS,
                configure=COUNTS,
                drain=COUNTS,
                delete=COUNTS,
                peak_machines=COUNTS,
                machine_seconds=SECONDS,
                price=st.floats(-1e9, 1e9),
            )
        ),
        "time": draw(st.builds(Time, wall=SECONDS, critical_path=SECONDS, sum=SECONDS)),
        "home": draw(st.builds(Home, left=PAIRS, taken=PAIRS, kept=st.booleans(), known=st.booleans())),
        "rpcs": draw(COUNTS),
        "ledger": draw(TEXTS),
        "stopped": draw(st.none() | TEXTS),
        "strict": draw(st.booleans()),
        "lacking": tuple(draw(st.lists(st.sampled_from(CAPABILITIES), max_size=2))),
        "whole": draw(st.booleans()),
    }
    return Report(**(fields | given))
