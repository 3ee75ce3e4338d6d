"""LIF: a machine changes its state only along the four edges, and only when it is called (contract §2).

Host, binding and traces of earlier bindings are judged in test_lifecycle_traces. Only the behaviours about Create and
Delete start machines; all others move a machine between IDLE and CONFIGURED.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from conformance.core.errors import SeenOnce, Unprepared, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.call import Call, cut, describe_machine
from conformance.suite._edges import observe_edge_once, observe_edge_until_seen
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.recording import BINDING, LEAVING, LIFE, shared_recording

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.fencing import Shard
    from conformance.fleet.machine import Machine
    from conformance.testkit.observations import Ack, Recording
    from conformance.testkit.trial import Trial

LATE_ACK_SECONDS = 1.0
"""An ack that shows the target state and took longer than this waited for the transition."""
WAITING_ACK_SECONDS = 0.1
"""The same, if it is seen for every call: a transition that takes less time is not long (LIF-10)."""


def lifecycle_verbs(trial: Trial) -> list[Verb]:
    """Returns the verbs of a whole lifecycle, without Delete if the provider does not support it."""
    return [verb for verb in Verb if verb is not Verb.DELETE or trial.found.delete]


@behaviour("LIF-1a", machines=1, start=State.SPECULATIVE, transitions=4, creates=True)
async def test_the_whole_lifecycle(trial: Trial) -> None:
    machine = trial.machine
    for verb in lifecycle_verbs(trial):
        token = trial.new_shard().next()  # a machine does not belong to a shard
        await expect.acked(machine.drain(token, grace=2) if verb is Verb.DRAIN else machine.call(verb, token))
        await expect.settles(machine, verb)


@behaviour("LIF-1b", machines=1, start=State.IDLE, transitions=4)
async def test_a_walk_of_legal_and_illegal_calls_follows_the_four_edges(trial: Trial) -> None:
    machine, state, taken = trial.machine, State.IDLE, 0
    for _ in range(30):
        verb = trial.random.choice([Verb.CREATE, Verb.CONFIGURE, Verb.DRAIN, Verb.DELETE])
        legal = EDGES[verb].source is state
        if legal and (taken == 4 or verb is Verb.DELETE):
            continue  # enough transitions, or a Delete, which costs a machine
        if legal:
            await expect.acked(machine.call(verb))
            await expect.settles(machine, verb)
            state, taken = EDGES[verb].target, taken + 1
        else:
            await machine.call(verb)  # if it started a transition, the next legal call would be refused


@behaviour("LIF-2a", machines=1, start=State.SPECULATIVE, transitions=2, creates=True)
async def test_create_shows_only_its_own_state(trial: Trial) -> None:
    await observe_edge_once(trial, Verb.CREATE)


@behaviour("LIF-2b", machines=1, start=State.IDLE, transitions=2)
async def test_configure_shows_only_its_own_state(trial: Trial) -> None:
    await observe_edge_until_seen(trial, Verb.CONFIGURE)


@behaviour("LIF-2c", machines=1, start=State.CONFIGURED, transitions=2)
async def test_drain_shows_only_its_own_state(trial: Trial) -> None:
    await observe_edge_until_seen(trial, Verb.DRAIN)


@behaviour("LIF-2d", machines=1, start=State.IDLE, transitions=2, deletes=True)
async def test_delete_shows_only_its_own_state(trial: Trial) -> None:
    await observe_edge_once(trial, Verb.DELETE)


@behaviour("LIF-2e", machines=1, start=State.IDLE, transitions=2)
async def test_every_connection_shows_what_was_accepted_over_another(trial: Trial) -> None:
    machine = trial.machine
    async with trial.connections(2) as others:
        for verb in (Verb.CONFIGURE, Verb.DRAIN):
            edge = EDGES[verb]
            for client in others:  # a provider may cache what it answers on a connection
                await client.get(machine.id)
            ack = await trial.begin(machine, verb)
            for states in ((edge.via, edge.target), (edge.target,)):
                if states == (edge.target,):
                    await trial.bring(machine, edge.target)
                for client in others:
                    get = await expect.acked(client.get(machine.id))
                    expect.fact(
                        state_of(get.response.state) in states,
                        wanted=f"another connection to show {' or '.join(state.name for state in states)} by now",
                        got=describe_machine(get.response),
                        calls=[ack, get],
                    )


@behaviour("LIF-3a", machines=2, start=State.IDLE, bound=1, transitions=1)
async def test_idle_and_configured_machines_stay_as_they_are(trial: Trial) -> None:
    idle, bound = trial.machines
    await asyncio.gather(
        expect.stays([idle], State.IDLE, seconds=trial.window),
        expect.stays([bound], State.CONFIGURED, seconds=trial.window),
    )


@behaviour("LIF-3b", machines=2, start=State.SPECULATIVE)
async def test_slots_stay_slots(trial: Trial) -> None:
    await expect.stays(trial.machines, State.SPECULATIVE, seconds=trial.window)


@behaviour("LIF-9a", machines=3, start=State.IDLE, transitions=4)
async def test_configure_and_drain_move_no_other_machine(trial: Trial) -> None:
    driven, bound, other = trial.machines
    rest, cluster, other_cluster = (
        {m: place_text(await m.read()) for m in trial.machines},
        trial.unique("one"),
        trial.unique("another"),
    )
    bindings = {bound: Binding(cluster, bound.id), other: Binding(other_cluster, other.id)}
    operations: dict[Machine, Call | None] = {}
    shard = trial.new_shard()  # one shard for all of them, as a real one; it restarts before each of its later calls
    for machine, binding in (*bindings.items(), (driven, Binding(cluster, driven.id))):
        await drive_alone(trial, machine, Verb.CONFIGURE, rest, binding.of(machine, shard))
        shard.start_after_epoch(shard.epoch)
        if machine is not driven:
            operations[machine] = await operation_at_rest(machine, binding, shard)
    await drive_alone(trial, driven, Verb.DRAIN, rest, driven.drain(shard))
    for machine, operation in operations.items():
        await check_same_operation(machine, bindings[machine], operation, by=f"calls to {driven.id}")


@behaviour("LIF-9b", machines=3, start=State.SPECULATIVE, bound=1, transitions=1, creates=True)
async def test_create_moves_no_other_machine(trial: Trial) -> None:
    created, _, bound = trial.machines
    operation = await operation_at_rest(bound, Binding(bound.cluster))
    await drive_alone(trial, created, Verb.CREATE, {m: place_text(await m.read()) for m in trial.machines})
    await check_same_operation(bound, Binding(bound.cluster), operation, by=f"Create of {created.id}")


@behaviour("LIF-9c", machines=3, start=State.IDLE, transitions=2, deletes=True)
async def test_delete_moves_no_other_machine(trial: Trial) -> None:
    deleted, other, bound = trial.machines
    binding = Binding(bound.cluster, bound.id)
    await trial.drive(bound, Verb.CONFIGURE, binding.of(bound))
    operation = await operation_at_rest(bound, binding)
    shard = trial.new_shard()
    idle = await expect.answered(other.drain(shard))  # one shard calls both; this call starts nothing
    if idle.fenced:
        raise Unprepared(f"Drain of {other.id} with the first token of a shard answered {idle.outcome()}")
    rest = {m: place_text(await m.read()) for m in trial.machines}
    await drive_alone(trial, deleted, Verb.DELETE, rest, deleted.delete(shard))
    await check_same_operation(bound, binding, operation, by=f"Delete of {deleted.id}")


@dataclass(frozen=True, slots=True)
class Binding:
    """The cluster of a Configure, and the value of its metadata; empty for none."""

    cluster: str
    owner: str = ""

    def of(self, machine: Machine, shard: Shard | None = None) -> Awaitable[Call]:
        """Configures the machine with this binding; `shard` sends the call, by default the machine's own."""
        metadata = {"owner": self.owner} if self.owner else None
        return machine.configure(shard, cluster=self.cluster, metadata=metadata)


def place_text(machine: pb.Machine) -> str:
    """Returns state, host, cluster and metadata as text that can be compared."""
    metadata = "".join(f", {key}={value}" for key, value in sorted(machine.shard_metadata.items()))
    return f"{state_of(machine.state).name} host {machine.host.ref!r} cluster {machine.cluster!r}{metadata}"


async def operation_at_rest(machine: Machine, binding: Binding, shard: Shard | None = None) -> Call | None:
    """Returns the ack of a retry of Configure. None if two retries are not the same operation: OPS-2 judges that.

    The first is sent as `check_same_operation` sends its own: then only the calls in between can make a difference.
    """
    first, again = await binding.of(machine), await binding.of(machine, shard)
    return first if first.ok and again.operation_id == first.operation_id else None


async def check_same_operation(machine: Machine, binding: Binding, operation: Call | None, *, by: str) -> None:
    """Checks that a retry of Configure still is the same operation after calls to another machine."""
    if operation is None:
        return
    again = await expect.answered(binding.of(machine))
    expect.fact(
        again.ok and again.operation_id == operation.operation_id,
        wanted=f"{by} to leave the operation id {cut(operation.operation_id)!r} of {machine.id} as it was",
        got=repr(cut(again.operation_id)) if again.ok else again.outcome(),
        calls=[operation, again],
    )


async def drive_alone(
    trial: Trial, driven: Machine, verb: Verb, rest: dict[Machine, str], pending: Awaitable[Call] | None = None
) -> None:
    """Drives one machine. Checks that the others stay as in `rest`, in flight and at rest. Updates `rest`."""
    others = [machine for machine in rest if machine is not driven]
    ack = await trial.begin(driven, verb, pending)
    for settled in (False, True):
        if settled:
            watch = await driven.settle(patience=driven.patience.for_verb(verb))
            if watch.state is not EDGES[verb].target:
                raise Unprepared(f"{driven.id} is {describe_machine(watch.machine)} after {verb.value}")
            rest[driven] = place_text(watch.machine)
        for other in others:
            after = place_text(await other.read())
            expect.fact(
                after == rest[other],
                wanted=f"{verb.value} of {driven.id} to leave {other.id} as it was: {rest[other]}",
                got=after,
                calls=[ack],
            )


@behaviour("LIF-10a", watches=BINDING)
async def test_an_ack_does_not_wait_for_the_transition(trial: Trial) -> None:
    await check_acks_do_not_wait(trial, *BINDING)


@behaviour("LIF-10b", watches=LIFE)
async def test_the_ack_of_create_does_not_wait_for_the_host(trial: Trial) -> None:
    await check_acks_do_not_wait(trial, Verb.CREATE)


@behaviour("LIF-10c", watches=LEAVING)
async def test_the_ack_of_delete_does_not_wait_for_its_end(trial: Trial) -> None:
    await check_acks_do_not_wait(trial, Verb.DELETE)


async def check_acks_do_not_wait(trial: Trial, *verbs: Verb) -> None:
    """Checks that no ack of these edges, nor of a repeated call, waited for a transition that takes time.

    One slow ack may be the delay of a busy computer: the next attempt must find the same one slow, on its own machine.
    """
    before = trial.recordings.get(trial.watches)
    recording = await shared_recording(trial)
    late = late_acks(recording, *verbs)
    earlier = late_acks(before, *verbs) if before is not None and before is not recording else {}
    for kind, ack in late.items():
        expect.fact(
            kind not in earlier,
            wanted=f"{ack.verb.value} to be acknowledged while it runs",
            got=f"an ack after {seconds_of(ack.call):.1f} s, when the transition had ended",
            calls=[ack.call],
        )
    if late:
        raise SeenOnce(f"one ack of {next(iter(late))[0].value} was slow, and none on another machine")
    if {ack.verb for ack in recording.at(*verbs) if not ack.when and shows_target(ack)} == set(verbs):
        longest = max(seconds_of(ack.call) for ack in recording.at(*verbs) if not ack.when)
        raise Unsupported(f"every transition had ended with its ack, after {longest:.2f} s at most")


def late_acks(recording: Recording, *verbs: Verb) -> dict[tuple[Verb, str], Ack]:
    """Returns the acks that came late and show the target, by verb and time of the call.

    An ack is late after LATE_ACK_SECONDS. After WAITING_ACK_SECONDS, only the first acks of all `verbs` together are
    late, each compared with the retries of its own call too: the delay of a busy computer does not look like that.
    """
    acks = [ack for ack in recording.at(*verbs) if ack.when != "at rest" and shows_target(ack)]
    late = {(ack.verb, ack.when): ack for ack in acks if is_slow(recording, ack, seconds=LATE_ACK_SECONDS)}
    waiting = {
        (ack.verb, ack.when): ack
        for ack in acks
        if not ack.when and is_slow(recording, ack, seconds=WAITING_ACK_SECONDS, retries=True)
    }
    return late | waiting if {verb for verb, _ in waiting} == set(verbs) else late


def is_slow(recording: Recording, ack: Ack, *, seconds: float, retries: bool = False) -> bool:
    """Returns whether an ack took that long, and ten times as long as a call that starts nothing.

    With `retries`, also ten times as long as each retry of its call.
    """
    others = [recording.controls[ack.verb], *(other.call for other in recording.at(ack.verb) if retries and other.when)]
    return seconds_of(ack.call) >= max(seconds, 10 * max(map(seconds_of, others)))


def seconds_of(call: Call) -> float:
    """Returns the seconds from the call to its answer."""
    return call.ended - call.started


def shows_target(ack: Ack) -> bool:
    """Returns whether the ack shows the machine at the end of the transition."""
    return state_of(ack.call.response.machine.state) is EDGES[ack.verb].target


def check_snapshot(machine: str, verb: Verb, call: Call, *, retried: str = "") -> None:
    """Checks that the ack shows the machine of the call, in the edge's transitional or target state (LIF-11)."""
    edge, shown = EDGES[verb], call.response.machine
    expect.fact(
        shown.id == machine and state_of(shown.state) in (edge.via, edge.target),
        wanted=f"the ack of {verb.value}{retried} to show {machine} {edge.via.name} or {edge.target.name}",
        got=f"{shown.id!r} {describe_machine(shown)}",
        calls=[call],
    )


@behaviour("LIF-11a", watches=LIFE)
async def test_an_ack_shows_the_machine_on_its_way_or_there(trial: Trial) -> None:
    await check_every_snapshot(trial)


@behaviour("LIF-11c", watches=LEAVING)
async def test_the_ack_of_delete_shows_the_machine_on_its_way_or_there(trial: Trial) -> None:
    await check_every_snapshot(trial)


async def check_every_snapshot(trial: Trial) -> None:
    """Checks the first ack of each edge, and the acks of the same call sent again in flight and at rest."""
    recording = await shared_recording(trial)
    for ack in recording.acks:
        check_snapshot(recording.machine, ack.verb, ack.call, retried=ack.when and f" sent again {ack.when}")


@behaviour("LIF-11b", machines=2, start=State.IDLE, transitions=2)
async def test_acks_are_not_mixed_up_between_machines(trial: Trial) -> None:
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        acks = await trial.together(2, partial(begin_nth, trial, verb))
        for machine, ack in zip(trial.machines, acks, strict=True):
            check_snapshot(machine.id, verb, ack)
        await asyncio.gather(*(trial.bring(machine, EDGES[verb].target) for machine in trial.machines))


async def begin_nth(trial: Trial, verb: Verb, number: int) -> Call:
    """Starts the transition of one of the trial's machines."""
    return await trial.begin(trial.machines[number], verb)


@behaviour("LIF-12a", machines=1, start=State.CONFIGURED, transitions=2)
async def test_a_drain_without_grace_ends(trial: Trial) -> None:
    machine = trial.machine
    ack = await expect.acked(machine.drain(grace=0))
    watch = await machine.settle(patience=machine.patience.drain)
    expect.fact(
        watch.state is State.IDLE or (watch.state is State.FAILED and watch.machine.last_error),
        wanted="a Drain with grace 0 to end in IDLE, or in FAILED with a last_error",
        got=f"{describe_machine(watch.machine)} after {watch.seconds:.1f} s",
        calls=[ack],
    )
    await expect.stays([machine], watch.state, seconds=trial.window)
