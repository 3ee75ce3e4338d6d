"""Tests the breaches that a refused first List shows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from grpc import StatusCode

from conformance.fleet.opening import breaches_of_refusal
from tests.values import a_call

if TYPE_CHECKING:
    from conformance.rpc.client import Client

OK, ODD, LOST = StatusCode.OK, StatusCode.UNKNOWN, StatusCode.UNAVAILABLE


class Lists:
    """A client whose Lists without filter and cap end with the given code, and all others with OK."""

    def __init__(self, code: StatusCode) -> None:
        self._code = code

    async def list(self, states: Any = (), *, cap: int = 0) -> Any:
        code = OK if cap or states else self._code
        return a_call("List", code=code, answered=code is not LOST)


@pytest.mark.parametrize(("second", "breaches"), [(ODD, ["LST-2c"]), (OK, []), (LOST, [])])
def test_a_list_that_is_refused_once_is_no_breach(second: StatusCode, breaches: list[str]) -> None:
    refused = a_call("List", code=ODD)
    found = asyncio.run(breaches_of_refusal(cast("Client", Lists(second)), refused))
    assert [breach.behaviour for breach in found] == breaches
