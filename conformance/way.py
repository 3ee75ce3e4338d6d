"""The shortest way of a machine to a stable state, one edge after the other. Judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.busy import while_busy
from conformance.errors import Disturbed, Unprepared
from conformance.lifecycle import EDGES, State, Verb, next_verb, state_of
from conformance.token import Token

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.machine import Machine


async def bring(machine: Machine, to: State, *, at_all_costs: bool) -> pb.Machine:
    """Drive the machine to `to`; see `Machine.bring`."""
    for _ in range(8):
        watch = await machine.settle()
        if watch.state is State.IDLE and machine.unheard and not machine.live:
            # A Create that was not heard out has claimed nothing. Repeated, it says whose life this is.
            await machine.sift()
            await machine.create()
        if watch.state is State.CONFIGURED and not (machine.live or machine.knows(watch.machine.cluster)):
            machine.disown()
            raise Disturbed(f"somebody else has bound {machine.id}")
        sure = to is not State.SPECULATIVE or not machine.touched  # who shows another state at each look is nowhere
        if watch.state is to and (sure or state_of((await machine.read()).state) is to):
            return watch.machine
        if not watch.state.stable:
            raise Unprepared(f"{machine.id} is still {watch.state.name} after {watch.seconds:.1f} s of patience")
        verb = next_verb(watch.state, to)
        if verb is None:
            raise Unprepared(f"{machine.id} is {watch.state.name}, and nothing leads from there to {to.name}")
        await _step(machine, verb, at_all_costs=at_all_costs)
    raise Unprepared(f"{machine.id} does not come to {to.name}")


async def _step(machine: Machine, verb: Verb, *, at_all_costs: bool) -> None:
    source = machine.state
    call = await while_busy(lambda: machine.call(verb), insists=machine.insists)
    if call.fenced and at_all_costs:
        call = await machine.call(verb, Token("", 0, 0))
    if not call.ok:
        raise Unprepared(f"{verb.value} of {machine.id}, {source.name}, answered {call.outcome()}")
    watch = await machine.settle()
    if watch.state is not EDGES[verb].target:
        why = watch.machine.last_error or "no error"
        raise Unprepared(f"{machine.id} is {watch.state.name} after {verb.value}: {why}")
