"""Helpers of the LIF behaviours: what a machine shows in each state (contract §12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.lifecycle import SHOWN, Presence, State, state_of
from conformance.testkit import expect

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb


def host_of(machine: pb.Machine) -> tuple[str, str]:
    """Returns provider and ref of the host."""
    return machine.host.provider, machine.host.ref


def check_host_presence(machine: pb.Machine, *, where: str) -> None:
    """Checks that the machine has a host, with provider and ref, or none, as its state requires (LIF-5)."""
    state, host = state_of(machine.state), host_of(machine)
    match SHOWN[state].host:
        case Presence.SET:
            wanted = f"{where}, {state.name}, to have host.provider and host.ref"
            expect.fact(all(host), wanted=wanted, got=f"host {host}")
        case Presence.EMPTY:
            expect.fact(not any(host), wanted=f"{where}, {state.name}, not to have a host", got=f"host {host}")


def check_cluster_presence(machine: pb.Machine, *, where: str) -> None:
    """Checks that the machine shows a cluster, or none, as its state requires (LIF-6)."""
    state, cluster = state_of(machine.state), machine.cluster
    match SHOWN[state].cluster:
        case Presence.SET:
            expect.fact(cluster, wanted=f"{where}, {state.name}, to show its cluster", got="no cluster")
        case Presence.EMPTY:
            wanted = f"{where}, {state.name}, not to show a cluster"
            expect.fact(not cluster, wanted=wanted, got=f"cluster {cluster!r}")


def check_cluster(machine: pb.Machine, cluster: str, *, where: str) -> None:
    """Checks that the machine shows no cluster except this one, and shows it if its state requires a cluster."""
    check_cluster_presence(machine, where=where)
    state = state_of(machine.state)
    wanted = f"{where} to show cluster {cluster!r} while {state.name}"
    expect.fact(
        machine.cluster in ("", cluster),
        wanted=f"{wanted}, or none" if state is State.CONFIGURING else wanted,
        got=f"cluster {machine.cluster!r}",
    )
