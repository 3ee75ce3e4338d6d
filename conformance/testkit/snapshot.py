"""Snapshots of what a provider shows, and their comparison before and after a kill: pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from conformance.core.lifecycle import State, state_of
from conformance.rpc.call import cut, describe_machine
from conformance.testkit import expect

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from bigfleet.v1alpha1 import provider_pb2 as pb

FIXED_FIELDS = ("instance_type", "zone", "capacity_type", "resources", "allocatable")
"""The fields that no client changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A fleet at one time, as List shows it."""

    machines: Mapping[str, pb.Machine]
    revision: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, listing: pb.MachineList) -> Snapshot:
        """Returns the snapshot in a List."""
        return cls(machines={each.id: each for each in listing.machines}, revision=listing.revision)

    @property
    def hosts(self) -> frozenset[str]:
        """The refs of all hosts that are shown."""
        return frozenset(each.host.ref for each in self.machines.values() if each.host.ref)


class Difference(NamedTuple):
    """One thing that has changed."""

    machine: str
    wanted: str
    got: str


def differences(
    before: Snapshot, after: Snapshot, *, own: Collection[str], moving: Collection[str] = ()
) -> Iterator[Difference]:
    """Yields what a kill has changed: lost and new machines first, then other machines that differ.

    `own` are the machines that only the kit drives: all their fields must be as they were, except of those that are
    `moving`. Other clients may drive the rest of the fleet, whose fixed fields do not change.
    """
    lost = sorted(before.machines.keys() - after.machines.keys())
    if lost:
        yield Difference(lost[0], f"the inventory of {len(before.machines)} machines as it was", _without(lost))
    new = sorted(after.machines.keys() - before.machines.keys())
    if new:
        yield Difference(new[0], f"the inventory of {len(before.machines)} machines as it was", _with(new))
    for machine_id in sorted(before.machines.keys() & after.machines.keys()):
        one, other = before.machines[machine_id], after.machines[machine_id]
        if machine_id in own and machine_id not in moving:
            yield from changes(one, other)
        else:
            yield from _changed_fields(one, other, FIXED_FIELDS if _same_life(one, other) else ())


def _same_life(one: pb.Machine, other: pb.Machine) -> bool:
    return state_of(one.state).stable and one.state == other.state and one.host.ref == other.host.ref


def changes(before: pb.Machine, after: pb.Machine) -> Iterator[Difference]:
    """Yields how a machine at rest differs. A FAILED machine may have been cleaned up meanwhile."""
    state = state_of(before.state)
    if not state.stable:
        return
    if state is State.FAILED:
        yield from _failed_changes(before, after)
    elif state_of(after.state) is not state:
        yield Difference(
            before.id, f"{before.id} as it was: {describe_machine(before)}", f"{before.id} {describe_machine(after)}"
        )
    else:
        yield from _changed_fields(before, after, expect.STABLE_FIELDS)


def _failed_changes(before: pb.Machine, after: pb.Machine) -> Iterator[Difference]:
    state = state_of(after.state)
    clean = not (after.cluster or after.last_error)
    if state is State.FAILED and after.last_error:
        return
    if state is State.SPECULATIVE and clean and not after.host.ref:
        return
    if state is State.IDLE and clean and after.host.ref and before.host.ref in ("", after.host.ref):
        return
    wanted = f"{before.id} FAILED with its last_error, or cleaned up: SPECULATIVE without a host, or IDLE with its host"
    yield Difference(before.id, wanted, describe_machine(after))


def _changed_fields(before: pb.Machine, after: pb.Machine, names: Iterable[str]) -> Iterator[Difference]:
    one, other = expect.at_rest(before), expect.at_rest(after)
    changed = [name for name in names if getattr(one, name) != getattr(other, name)]
    if changed:
        yield Difference(
            before.id,
            f"{before.id} with the same {', '.join(changed)}",
            "; ".join(f"{name} {_value(one, name)} and then {_value(other, name)}" for name in changed),
        )


def _value(machine: pb.Machine, name: str) -> str:
    return cut(" ".join(str(getattr(machine, name)).split()) or "empty", 120)


def _without(ids: list[str]) -> str:
    return f"an inventory without {_some(ids)}"


def _with(ids: list[str]) -> str:
    return f"an inventory with the new {_some(ids)}"


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return ", ".join(cut(each) for each in ids[:3]) + more
