from __future__ import annotations

import pytest

from conformance.rpc.outages import Outages


@pytest.mark.parametrize(
    ("started", "ended", "meets"),
    [(0.0, 0.9, False), (0.5, 1.0, True), (1.2, 1.5, True), (1.9, 3.0, True), (2.1, 2.2, False)],
)
def test_a_call_meets_an_outage_that_it_overlaps(started: float, ended: float, meets: bool) -> None:
    outages = Outages()
    outages.begin(1.0)
    outages.begin(1.5)
    outages.end(2.0)
    assert outages.meet(started, ended) is meets


def test_an_outage_lasts_until_it_is_ended() -> None:
    outages = Outages()
    assert (outages.under_way, outages.meet(0.0, 9.0)) == (False, False)
    outages.begin(1.0)
    assert (outages.under_way, outages.meet(5.0, 6.0), outages.meet(0.1, 0.5)) == (True, True, False)
    outages.end(7.0)
    outages.end(8.0)
    assert (outages.under_way, outages.meet(7.5, 7.6)) == (False, False)
