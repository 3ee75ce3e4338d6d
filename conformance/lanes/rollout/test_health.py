"""ROL-2: what the health service says before a stop and after a start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.core.errors import NotObserved, Unsupported, Violation
from conformance.core.lifecycle import State
from conformance.lanes.rollout.health import check_until, watching
from conformance.lanes.rollout.stops import stop, stopping
from conformance.testkit.behaviour import behaviour
from conformance.testkit.restarted import SERVING, back, look
from conformance.testkit.startup import serving_means_answers

if TYPE_CHECKING:
    from conformance.testkit.trial import Trial

STOP: Final = "an orderly stop"
REFUSALS: Final = frozenset({"NOT_SERVING", "UNAVAILABLE"})
"""The answers of a health service after which no client calls the provider."""


def require_health(trial: Trial) -> None:
    """Raises Unsupported for a provider whose health service does not say SERVING."""
    if trial.found.health != SERVING:
        raise Unsupported(f"the health service does not say {SERVING} (WIR-4)")


@behaviour("ROL-2a", machines=1, start=State.IDLE, restarts=True)
async def test_the_provider_says_that_it_will_stop(trial: Trial) -> None:
    require_health(trial)
    before = await look(trial)
    async with trial.connections(2) as clients, watching(clients[0]) as seen, stopping(trial) as ended:
        await check_until(ended, clients[1], seen)
    await back(trial, before, STOP)
    said = [*seen.watched, *seen.checked]
    if not said:
        raise NotObserved("the health service did not answer while the provider stopped")
    if not REFUSALS.intersection(said):
        raise Violation(
            "the health service to say NOT_SERVING before the provider ends",
            f"{', '.join(dict.fromkeys(said))} until the connection ended",
        )


@behaviour("ROL-2b", machines=2, start=State.IDLE, bound=1, restarts=True)
async def test_serving_after_a_stop_means_that_calls_are_answered(trial: Trial) -> None:
    require_health(trial)
    before = await look(trial)
    await stop(trial)
    serving = await serving_means_answers(trial, STOP, before=before)
    await back(trial, before, STOP)
    if not serving:
        raise NotObserved(f"the health service did not say {SERVING} during the start")
