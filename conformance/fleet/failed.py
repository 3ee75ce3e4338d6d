"""Determines that a machine rests in FAILED: no call leads out of that state, so no client can return it (FLT-3)."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance.core.errors import ConformanceError
from conformance.core.lifecycle import State, state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conformance.fleet.machine import Machine


async def failures(machines: Iterable[Machine]) -> Mapping[str, str]:
    """Returns, by machine id, the `last_error` of each machine that rests in FAILED, and the price of its host.

    A machine without a `last_error` has not failed as the contract allows it (FLT-1), and is left out.
    """
    errors = await asyncio.gather(*(_last_error(machine) for machine in machines))
    return dict(each for each in errors if each is not None)


async def _last_error(machine: Machine) -> tuple[str, str] | None:
    if machine.state is State.FAILED:
        with suppress(ConformanceError):
            shown = await machine.read()
            if state_of(shown.state) is State.FAILED and shown.last_error:
                price = shown.price_per_hour
                costs = bool(shown.host.ref) and math.isfinite(price) and price > 0
                return machine.id, f"{shown.last_error} (its host costs {price:g} per hour)" * costs or shown.last_error
    return None
