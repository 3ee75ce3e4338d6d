"""`python -m selftest.lost_calls N [PATTERN ...]`: loses calls in runs of each behaviour against the conformant fake.

Each behaviour is judged alone on a virtual clock, N times, and each time one mutating call or read of its run is lost:
the provider never gets it, or carries it out and its answer is lost. No behaviour may fail, warn, or be left undecided.
Which calls are lost is drawn from the seed of the behaviour's name.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from conformance.core import catalogue
from conformance.results.result import Status
from conformance.rpc import in_process
from conformance.rpc.call import STREAM_LOST
from selftest.judge import NEEDS_SOCKET, judge_variant_in_virtual_time
from selftest.variants import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.results.result import Result

BAD = (Status.FAILED, Status.WARNED, Status.ERROR)


@dataclass(slots=True, kw_only=True)
class Losing:
    """Loses the calls with these numbers, counted from the first call of a run."""

    lost: frozenset[int]
    carried_out: bool
    """True if the provider gets the lost calls, and only their answers are lost."""
    calls: int = 0
    losses: int = 0

    async def __call__(self, handler: Any, data: bytes, context: Any) -> bytes:
        """Handles one call of the in-process transport."""
        self.calls += 1
        if self.calls not in self.lost:
            answer: bytes = await _handle(handler, data, context)
            return answer
        self.losses += 1
        if self.carried_out:
            with contextlib.suppress(in_process._Aborted):
                await _handle(handler, data, context)
        # As gRPC says it of a connection that was closed during a call.
        raise in_process._Aborted(grpc.StatusCode.UNAVAILABLE, f"{STREAM_LOST}lost by the self-test)")


_handle: Callable[..., Any] = in_process._handle


def judge_losing(behaviour: str, losing: Losing, *, seed: int) -> Result:
    """Returns the result of the behaviour in a run that loses calls."""
    in_process._handle = losing
    try:
        report = judge_variant_in_virtual_time(VARIANTS["Reference"], select=[behaviour], seed=seed)
    finally:
        in_process._handle = _handle
    [result] = report.results
    return result


def main(arguments: Sequence[str]) -> int:
    """Prints each behaviour that was judged wrongly, and the figures; returns 1 if there was one."""
    logging.disable(logging.CRITICAL)
    times, patterns = int(arguments[0]), arguments[1:]
    known = catalogue.load()
    runs = losses = repeated = wrong = 0
    for entry in known.select(patterns, NEEDS_SOCKET):
        whole = Losing(lost=frozenset(), carried_out=True)
        judge_losing(entry.id, whole, seed=0)
        rng = random.Random(entry.id)
        for number in range(times):
            losing = Losing(lost=frozenset({rng.randint(1, max(1, whole.calls))}), carried_out=bool(number % 2))
            result = judge_losing(entry.id, losing, seed=number)
            runs, losses, repeated = runs + 1, losses + losing.losses, repeated + (losing.calls > 1.5 * whole.calls)
            if result.status in BAD:
                wrong += 1
                how = "carried out" if losing.carried_out else "never sent"
                what = f"call {min(losing.lost)} of {whole.calls} {how}, seed {number}"
                print(f"{entry.id} {result.status}: {what}: {result.reason}")
    print(f"{runs} runs, {losses} calls lost, {repeated} runs much longer than usual, {wrong} wrong results")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
