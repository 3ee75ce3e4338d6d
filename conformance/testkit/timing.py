"""Decides why no call was answered during a transition: the provider was too fast for that, or the kit was too slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.core.errors import KitTooSlow, Unsupported
from conformance.core.lifecycle import EDGES, Verb, state_of
from conformance.rpc.call import recorded_calls

if TYPE_CHECKING:
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

LENIENCY: Final = 3
"""A provider counts as too fast up to this multiple of the time that the calls need, in an attempt during which nothing
else runs: how close the kit comes to that time depends on chance."""


def missed(
    trial: Trial,
    verb: Verb,
    ack: Call,
    *,
    at: float | None = None,
    rpc: str = "Get",
    calls: int = 1,
    otherwise: str = "",
) -> Unsupported | KitTooSlow:
    """Returns the error for a transition of `verb`, acknowledged by `ack`, during which no call of the kit was in time.

    `calls` calls like `rpc` had to be answered during the transition, and `at` is the time at which the last of them
    was, by default now. The error is Unsupported, with the reason `otherwise` if given, if the provider is too fast:
    the ack shows the target state, or the transition was over although the kit lost no time. Otherwise it is
    KitTooSlow, and the behaviour is judged again when nothing else runs. If that attempt is late too, the error is
    Unsupported if any transition of the run was too short to be observed, or if the kit sent its call in time and the
    provider answered late.
    """
    edge, pace = EDGES[verb], trial.pace
    if state_of(ack.response.machine.state) is edge.target:
        return Unsupported(
            f"the ack of {verb.value} shows {edge.target.name}: no call can arrive during the transition"
        )
    took = (trial.client.now() if at is None else at) - ack.started
    needed, shortest = pace.observable(verb, rpc, calls=calls), min(pace.shortest_transition(verb), took)
    if took <= needed or (shortest <= LENIENCY * needed and trial.late):
        return Unsupported(otherwise or f"{verb.value} ended within {shortest:.3f} s, before a call could arrive")
    look = next((call for call in recorded_calls() if call.rpc == rpc and call.started >= ack.ended), None)
    if look is not None and look.started - ack.started <= needed and trial.late:
        return Unsupported(otherwise or f"{rpc} was sent during {verb.value}, but answered only when it had ended")
    if trial.client.faults is not None:
        return Unsupported(f"the injected faults delayed the calls during {verb.value} until it had ended")
    return KitTooSlow(
        f"the kit was too slow to send a call during {verb.value}: the answer came {took:.3f} s after {verb.value} was "
        f"sent, and {needed:.3f} s would have been possible"
    )
