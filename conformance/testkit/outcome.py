"""Judges a machine after a restart during a call or its transition: where it may rest, and the fields it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.call import describe_machine
from conformance.testkit import expect

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.restarted import Edge
    from conformance.testkit.trial import Trial

STABLE_IDS = (Verb.CREATE, Verb.CONFIGURE)
"""The verbs whose target no clean-up of a failed machine reaches: a machine at the target is there because of the call.
"""
AT_ONCE_S = 0.08
"""The longest time from a look at a machine until a retry is answered, for the state to be that which the retry met."""


class Interruption(Protocol):
    """A restart of the provider during a call or its transition. Its text continues "after"."""

    @property
    def verb(self) -> Verb:
        """The verb of the call."""

    @property
    def retry(self) -> bool:
        """True if the caller repeats its call after the restart before it looks at the machine."""

    @property
    def at_end(self) -> bool:
        """True if the transition had ended before."""

    @property
    def orderly(self) -> bool:
        """True if the provider was stopped, not killed: a transition that failed then may be cleaned up already."""


async def judge(trial: Trial, edge: Edge, moment: Interruption, call: Call, before: pb.Machine) -> pb.Machine:
    """Judges the machine after the restart, from the first answer until it rests; returns it at rest."""
    machine, arrow, began = edge.machine, EDGES[edge.verb], trial.client.now()
    ended = call.answered_ok and state_of(call.response.machine.state) is arrow.target
    at_end = ended or moment.at_end
    seen = await machine.read()
    check_state(machine, moment, seen, at_end=at_end)
    if state_of(seen.state).stable and state_of(seen.state) is not State.FAILED:
        check_end(edge, moment, before, seen)
    if call.answered_ok:  # before any other call of the shard, which would move the mark
        await expect.fenced(edge.send(call.token))
    retried = await edge.send() if moment.retry else None
    late = retried is not None and retried.ended - began > AT_ONCE_S
    result = await machine.settle(patience=machine.patience.for_verb(edge.verb))
    shown, state = result.machine, result.state
    expect.fact(
        state.stable, wanted=f"{machine.id} to come to rest after {moment}", got=f"still {describe_machine(shown)}"
    )
    check_state(machine, moment, shown, at_end=at_end)
    if state is State.FAILED:
        await check_failed(trial, machine, moment, shown)
        return shown
    check_end(edge, moment, before, shown)
    if state is arrow.target:
        known = state_of(seen.state)
        if late and known is arrow.via:  # it may have been undone before the retry came
            known = State.UNSPECIFIED
        await check_operation(edge, moment, call, retried, seen=known, at_end=at_end)
    return shown


def check_state(machine: Machine, moment: Interruption, shown: pb.Machine, *, at_end: bool) -> None:
    """Expects a state to which the cut transition may have led; `at_end`: it had ended before the kill."""
    arrow = EDGES[moment.verb]
    allowed = (arrow.target,) if at_end else (arrow.source, arrow.via, arrow.target, State.FAILED)
    if moment.orderly and not at_end:
        allowed = tuple(dict.fromkeys((*allowed, State.SPECULATIVE, State.IDLE)))
    expect.fact(
        state_of(shown.state) in allowed,
        wanted=f"{machine.id} to be {' or '.join(state.name for state in allowed)} after {moment}",
        got=describe_machine(shown),
    )


async def check_failed(trial: Trial, machine: Machine, moment: Interruption, shown: pb.Machine) -> None:
    """Expects a machine that the kill made fail to tell why, and to stay as it is: no late success (FLT-2)."""
    expect.fact(
        shown.last_error,
        wanted=f"{machine.id}, FAILED, to show a last_error after {moment}",
        got=describe_machine(shown),
    )
    await expect.stays([machine], State.FAILED, seconds=trial.window)


def check_end(edge: Edge, moment: Interruption, before: pb.Machine, shown: pb.Machine) -> None:
    """Expects the host and the binding of a machine at rest: those of the end that it has reached."""
    machine, state = edge.machine, state_of(shown.state)
    if edge.verb is not Verb.CREATE and state is not State.SPECULATIVE:
        expect.fact(
            shown.host.ref == before.host.ref,
            wanted=f"{machine.id} to keep the host {before.host.ref} after {moment}",
            got=f"host {shown.host.ref}",
        )
    if state is State.SPECULATIVE:
        expect.fact(
            not shown.host.ref, wanted=f"{machine.id}, SPECULATIVE, to have no host after {moment}", got=shown.host.ref
        )
    cluster, metadata = "", dict[str, str]()
    if state is State.CONFIGURED:
        bound = edge.verb is Verb.CONFIGURE
        cluster = edge.values["cluster"] if bound else before.cluster
        metadata = dict(edge.values["metadata"] if bound else before.shard_metadata)
    expect.fact(
        shown.cluster == cluster,
        wanted=f"{machine.id}, {state.name}, with cluster {cluster or 'none'} after {moment}",
        got=f"cluster {shown.cluster or 'none'}",
    )
    expect.echoes(shown, metadata, where=f"{machine.id}, {state.name}, after {moment}")


async def check_operation(
    edge: Edge, moment: Interruption, call: Call, retried: Call | None, *, seen: State, at_end: bool
) -> None:
    """Repeats the call of a machine that rests at its target: all that belong together have one operation id.

    `seen` is the state after the restart. If the transition had been undone, the retry was a new operation; if a failed
    one had been cleaned up, a repeated call may be refused.
    """
    arrow = EDGES[edge.verb]
    same = at_end or seen is arrow.via or (seen is arrow.target and edge.verb in STABLE_IDS)
    sent = [each for each in ((call if same else None), retried) if each is not None and each.answered_ok]
    sent.append(await expect.answered(edge.send()))
    if len(sent) == 1:
        sent.append(await expect.answered(edge.send()))
    first, again = sent[0], next((each for each in sent if each.operation_id != sent[0].operation_id), sent[-1])
    if same or (retried is not None and retried.answered_ok):
        expect.fact(
            again.answered_ok and again.operation_id == first.operation_id,
            wanted=f"the repeated {edge.verb.value} of {edge.machine.id} to have operation id"
            f" {first.operation_id!r} after {moment}",
            got=again.outcome(),
            calls=[first, again],
        )


async def go_on(trial: Trial, edge: Edge, shown: pb.Machine) -> Machine:
    """Returns a machine at the far end of the edge: this one, or another one if it rests in FAILED."""
    machine, target = edge.machine, EDGES[edge.verb].target
    state = state_of(shown.state)
    if state is State.FAILED:
        return await trial.replace(machine, target)
    if state not in (EDGES[edge.verb].source, target):  # it had failed, and was cleaned up
        await trial.bring(machine, target)
    elif state is not target:
        await expect.acked(edge.send())
        await expect.settles(machine, edge.verb)
    return machine
