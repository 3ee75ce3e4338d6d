"""`--max-creates` is never exceeded, also by concurrent behaviours: counted by the provider, not by the kit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conformance.core import catalogue
from conformance.frontends import collection
from conformance.reporters import terminal
from conformance.results.result import Status, Verdict
from fake_provider.core import Core
from fake_provider.machine import Verb
from tests.runs import judged, provider, states_of


class Counting(Core):
    """Counts the hosts that it has started."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.started: set[str] = set()

    def mutate(self, request: Any, now: float) -> Any:
        ack = super().mutate(request, now)
        if request.verb is Verb.CREATE:
            self.started.add(ack.operation_id)
        return ack


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_max_creates_is_kept_and_the_verdict_is_inconclusive(limit: int) -> None:
    core = provider(32, latency=0.02, cls=Counting)
    assert isinstance(core, Counting)
    known = catalogue.load()
    chosen = collection.plan(known, collection.functions(), (e.id for e in known.select(["LIF", "OPS", "FEN-1*"], ())))
    report = asyncio.run(judged(chosen, core, max_creates=limit))
    assert len(core.started) <= limit
    assert report.bill.create == len(core.started)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert states_of(core) == {}
    unjudged = {result.entry.clause.id for result in report.with_status(Status.ERROR)}
    [line] = [line for line in terminal.closing(report) if line.startswith("unjudged   MUST: ")]
    assert set(line.removeprefix("unjudged   MUST: ").split(", ")) <= unjudged
    assert "LIF-1" in line
