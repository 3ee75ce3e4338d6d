"""Mutants that break §14: the hosts that run are not those that the provider shows, and conformant backends."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.core.errors import TargetError
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import Machine, State, Verb
from selftest.mutant import Mutant

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.errors import Rejected
    from fake_provider.fence import Token
    from fake_provider.request import Ack, Request

C = TypeVar("C", bound="type[HostedCore]")
OTHERS = ("other-1", "other-2")
"""Hosts that run from the beginning, and that no machine shows."""


class HostedCore(Core):
    """A provider with a backend that can be asked: `hosts` is what really runs."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.running: set[str] = set(OTHERS)
        super().__init__(*arguments, **options)

    def put(self, machine: Machine) -> Machine:
        """Stores the machine, and starts or stops its host."""
        known = machine.id in self.machines
        before = self.machines[machine.id].host if known else None
        stored = super().put(machine)
        if before != stored.host:
            if before is not None:
                self.end_host(stored, before.ref)
            if stored.host is not None:
                self.begin_host(stored, stored.host.ref)
        return stored

    def begin_host(self, machine: Machine, ref: str) -> None:
        """Starts a host."""
        self.running.add(ref)

    def end_host(self, machine: Machine, ref: str) -> None:
        """Stops a host."""
        self.running.discard(ref)

    async def hosts(self) -> frozenset[str]:
        """Returns the hosts that run."""
        return frozenset(self.running)


HOST_MUTANTS: dict[str, Mutant] = {}


def mutant(clause: str, *found_by: str, also: tuple[str, ...] = (), idle: int = 0) -> Callable[[C], C]:
    """Registers a mutant that `found_by` must find; `also` are behaviours whose calls provoke the defect."""

    def register(cls: C) -> C:
        HOST_MUTANTS[cls.__name__] = HostMutant(
            name=cls.__name__,
            story=inspect.cleandoc(cls.__doc__ or ""),
            clause=clause,
            found_by=found_by,
            core=cls,
            machines=12,
            also=also,
            because="its calls provoke the defect" if also else "",
            idle=idle,
        )
        return cls

    return register


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMutant(Mutant):
    """A mutant whose backend can be asked."""

    idle: int = 0
    """The number of machines that have a host from the beginning."""

    def provider(self) -> Core:
        """Returns a new provider with this defect."""
        machines = fleet(self.machines, idle=self.idle)
        return self.core(machines, latency=Latency.parse(self.latency), **self.options)


@mutant("HST-2", "HST-2a")
class DeleteKeepsTheHostRunning(HostedCore):
    """Forgets to terminate the instance on Delete: the slot is free, and the host is paid for."""

    def end_host(self, machine: Machine, ref: str) -> None:
        """Does nothing."""


@mutant("HST-2", "HST-2a")
class CreateStartsTwoHosts(HostedCore):
    """Sends the request to start an instance twice, and remembers only one of the two."""

    def begin_host(self, machine: Machine, ref: str) -> None:
        """Starts the host and another one."""
        self.running |= {ref, f"{ref}-again"}


@mutant("HST-2", "HST-2a", also=("OPS-2a",))
class RetriedCreateStartsAnotherHost(HostedCore):
    """Finds the operation of a retried Create in its records, but starts an instance before it looks."""

    def mutate(self, request: Request, now: float) -> Ack:
        """Starts a host for every Create of a machine that is known."""
        machine = self.machines.get(request.machine_id)
        if request.verb is Verb.CREATE and machine is not None and machine.state is not State.SPECULATIVE:
            self.running.add(f"again-{len(self.running)}")
        return super().mutate(request, now)


@mutant("HST-2", "HST-2a", also=("FEN-1a",))
class FencedCreateStartsAHost(HostedCore):
    """Starts the instance in parallel with the check of the token, and does not stop it if the token is old."""

    def fenced(self, verb: Verb, token: Token) -> Rejected:
        """Returns the rejection of a fenced call, after a Create has started a host."""
        if verb is Verb.CREATE:
            self.running.add(f"fenced-{len(self.running)}")
        return super().fenced(verb, token)


@mutant("HST-2", "HST-2a")
class ConfigureStartsASpareHost(HostedCore):
    """Starts a spare instance for every binding, which nothing ever stops."""

    def put(self, machine: Machine) -> Machine:
        """Starts a spare host for a machine that is configured."""
        if machine.state is State.CONFIGURED and machine.host is not None:
            self.running.add(f"spare-{machine.host.ref}")
        return super().put(machine)


@mutant("HST-2", "HST-2a")
class DrainReplacesTheHost(HostedCore):
    """Re-images the machine after a Drain by starting a new instance, whose name it does not store."""

    def put(self, machine: Machine) -> Machine:
        """Replaces the host of a machine that was drained."""
        before = self.machines.get(machine.id)
        stored = super().put(machine)
        drained = before is not None and before.state is State.DRAINING and machine.state is State.IDLE
        if drained and machine.host is not None:
            self.running.discard(machine.host.ref)
            self.running.add(f"{machine.host.ref}-fresh")
        return stored


@mutant("HST-1", "HST-1b")
class CreateStartsNoHost(HostedCore):
    """Reports IDLE with the name that the instance will have, and the request to start it was never sent."""

    def begin_host(self, machine: Machine, ref: str) -> None:
        """Does nothing."""


@mutant("HST-1", "HST-1b")
class DrainStopsTheHost(HostedCore):
    """Terminates the instance as soon as it is drained, and still shows the machine in IDLE with it."""

    def put(self, machine: Machine) -> Machine:
        """Stops the host of a machine that was drained."""
        before = self.machines.get(machine.id)
        stored = super().put(machine)
        if before is not None and before.state is State.DRAINING and machine.host is not None:
            self.running.discard(machine.host.ref)
        return stored


@mutant("HST-1", "HST-1b")
class ConfigureLosesTheHost(HostedCore):
    """The bootstrap script halts the instance, and the provider does not look whether it came back."""

    def put(self, machine: Machine) -> Machine:
        """Stops the host of a machine that is configured."""
        stored = super().put(machine)
        if machine.state is State.CONFIGURED and machine.host is not None:
            self.running.discard(machine.host.ref)
        return stored


@mutant("HST-1", "HST-1a", idle=3)
class ShowsAHostThatDied(HostedCore):
    """Never looks at its instances again: one that died weeks ago is still shown as IDLE."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.running.discard(min(self.running - {*OTHERS}))


@mutant("HST-2", "HST-2b")
class StopsHostsThatItDoesNotKnow(HostedCore):
    """Cleans up after each Delete: terminates every instance of the account that is not in its own records."""

    def end_host(self, machine: Machine, ref: str) -> None:
        """Stops the host and all that no machine has."""
        known = {each.host.ref for each in self.machines.values() if each.host}
        self.running &= known - {ref}


@mutant("HST-2", "HST-1c", idle=3)
class DeleteStopsANeighboursHost(HostedCore):
    """Terminates by the prefix of the name: the host of another machine goes with it."""

    def end_host(self, machine: Machine, ref: str) -> None:
        """Stops the host, and the first one of another machine."""
        others = sorted(each.host.ref for each in self.machines.values() if each.host and each.id != machine.id)
        self.running -= {ref, *others[:1]}


class ConformantBackends:
    """Backends of conformant providers that look odd."""

    class Lagging(HostedCore):
        """Shows a new host, and forgets an old one, only when it was asked a few times more."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.views: list[frozenset[str]] = []
            super().__init__(*arguments, **options)

        async def hosts(self) -> frozenset[str]:
            """Returns the hosts that ran three looks ago."""
            self.views.append(frozenset(self.running))
            return self.views[max(0, len(self.views) - 4)]

    class Crowded(HostedCore):
        """Runs many hosts for another purpose, in an account that several teams use."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.running |= {f"web-{number}" for number in range(500)}

    class Stops(HostedCore):
        """Stops the host while the machine is DELETING, long before it is SPECULATIVE."""

        def put(self, machine: Machine) -> Machine:
            """Stops the host of a machine that is being deleted."""
            stored = super().put(machine)
            if machine.state is State.DELETING and machine.host is not None:
                self.running.discard(machine.host.ref)
            return stored


class OtherNames(HostedCore):
    """The command prints another name of each host than its ref."""

    async def hosts(self) -> frozenset[str]:
        """Returns the hosts by their other names."""
        return frozenset(f"arn:{ref}" for ref in self.running)


class Broken(HostedCore):
    """The command fails once machines are there."""

    async def hosts(self) -> frozenset[str]:
        """Raises TargetError while there are hosts of machines."""
        if self.running - {*OTHERS}:
            raise TargetError("--hosts-cmd ended with exit code 1: no credentials")
        return frozenset(self.running)
