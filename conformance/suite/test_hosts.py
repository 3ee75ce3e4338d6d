"""HST: the hosts that the backend runs, compared with those that machines show (contract §14).

A backend may show a new host late, or an old one for too long, so whatever looks wrong is looked at again first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import Disturbed, NoAnswer, NotObserved, Unsupported
from conformance.core.lifecycle import State, Verb
from conformance.core.text import quantity
from conformance.fleet.hosts import FleetHosts, of_machines
from conformance.rpc.call import cut
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from conformance.fleet.machine import Machine
    from conformance.testkit.trial import Trial

HAS_HOST: Final = frozenset({State.IDLE, State.CONFIGURING, State.CONFIGURED, State.DRAINING})
"""The states in which a machine's host must run. In DELETING it is being stopped; in FAILED it may have died."""
MAX_LAG_S: Final = 60.0
"""The longest time until a backend shows a new host or forgets an old one; at most the run's patience."""
PAUSE_S: Final = 0.2
MAX_NAMES: Final = 5
"""The most hosts that a finding names."""


@behaviour("HST-1a")
async def test_every_shown_host_runs(trial: Trial) -> None:
    await check_shown_hosts_run(trial)


@behaviour("HST-1b", machines=1, start=State.IDLE, transitions=2)
async def test_a_host_runs_through_a_binding(trial: Trial) -> None:
    machine = trial.machine
    await check_host_runs(trial, machine, "in IDLE")
    await trial.drive(machine, Verb.CONFIGURE)
    await check_host_runs(trial, machine, "in CONFIGURED")
    await trial.drive(machine, Verb.DRAIN)
    await check_host_runs(trial, machine, "in IDLE after a Drain")


@behaviour("HST-1c", returned=True)
async def test_every_host_shown_at_the_end_runs(trial: Trial) -> None:
    await check_shown_hosts_run(trial)


@behaviour("HST-2a", returned=True)
async def test_no_host_is_left(trial: Trial) -> None:
    left: frozenset[str] = frozenset()
    async for hosts in looks(trial):
        left = hosts.running - trial.hosts_before.running - hosts.shown.keys()
        if not left:
            return
    hidden = [name for name, state in hosts.states.items() if state == State.CREATING]
    if len(hidden) >= len(left):
        raise Disturbed(
            f"{named(trial, left)} may be of machines that are still CREATING: {', '.join(map(cut, sorted(hidden)))}"
        )
    failed = [name for name in trial.touched if hosts.states.get(name) == State.FAILED]
    if len(failed) >= len(left):
        raise Unsupported(f"{named(trial, left)} may be of machines that rest in FAILED and show no host (FLT-7)")
    expect.fact(
        not left,
        wanted="no host to run that did not run before, once all machines of the run were returned",
        got=named(trial, left),
    )


@behaviour("HST-2b", returned=True)
async def test_no_other_host_was_stopped(trial: Trial) -> None:
    before, lost = trial.hosts_before, frozenset[str]()
    async for hosts in looks(trial):
        lost = frozenset(ref for ref in before.running - hosts.running if not has_other_reason(trial, hosts, ref))
        if not lost:
            return
    unshown = lost - before.shown.keys()
    changed = {name for name in before.states if hosts.states.get(name) != before.states[name]} - trial.touched
    if unshown == lost and changed:
        raise Disturbed(
            f"{named(trial, lost)} stopped, perhaps for another client: {quantity(len(changed), 'machine')} changed"
        )
    expect.fact(
        not lost, wanted="every host that ran before the run to run after it", got=f"{named(trial, lost)} stopped"
    )


def has_other_reason(trial: Trial, hosts: FleetHosts, ref: str) -> bool:
    """Returns whether a host that ran before was stopped for a machine of this run or of another client."""
    machine = trial.hosts_before.shown.get(ref)
    return machine is not None and (machine in trial.touched or hosts.shown.get(ref) != machine)


async def check_shown_hosts_run(trial: Trial) -> None:
    """Expects every host that a machine shows to run."""
    wrong: set[tuple[str, str]] | None = None
    async for hosts in looks(trial, states=HAS_HOST):
        missing = {(machine, ref) for ref, machine in hosts.shown.items() if ref not in hosts.running}
        wrong = missing if wrong is None else wrong & missing
        if not wrong:
            return
    check_same_names(trial, hosts, hosts.running)
    shown = [f"{cut(machine)} shows {cut(ref)}" for machine, ref in sorted(wrong or ())]
    expect.fact(
        not shown,
        wanted="every host that a machine shows to be one that the backend runs",
        got=f"{quantity(len(shown), 'host')} that the backend does not run: {some(shown)}",
    )


async def check_host_runs(trial: Trial, machine: Machine, when: str) -> None:
    """Expects the host that a machine at rest shows to run."""
    async for hosts in looks(trial, states=HAS_HOST):
        refs = [ref for ref, owner in hosts.shown.items() if owner == machine.id]
        if not refs:
            raise NotObserved(f"{machine.id} shows no host {when}")
        if refs[0] in hosts.running:
            return
    check_same_names(trial, hosts, hosts.running - trial.hosts_before.running)
    expect.fact(
        refs[0] in hosts.running,
        wanted=f"the host of {machine.id} to run {when}",
        got=f"the backend does not run {cut(refs[0])}",
    )


def check_same_names(trial: Trial, hosts: FleetHosts, others: frozenset[str]) -> None:
    """Raises NotObserved if the command seems to name hosts in another way than the provider.

    `others` are hosts that run and may be those that machines show, under other names.
    """
    shown = trial.model.hosts_shown.keys() | hosts.shown.keys()
    if others and hosts.running.isdisjoint(shown) and not trial.hosts_before.matched:
        raise NotObserved(
            f"--hosts-cmd lists no host that a machine shows, but others, such as {cut(min(others))}: it must print"
            f" the `ref` of each host, such as {cut(min(shown))}"
        )


async def looks(trial: Trial, *, states: frozenset[State] | None = None) -> AsyncIterator[FleetHosts]:
    """Yields what runs and what machines show, again and again until the backend must have caught up.

    With `states`, a host counts as shown if a machine in one of these states shows it both before and after the backend
    is asked; otherwise, if any machine shows it at one of these times. Raises NoAnswer if List fails.
    """
    backend = trial.backend
    if backend is None:
        raise NotObserved("there is no backend to ask")
    end = trial.client.now() + min(MAX_LAG_S, trial.patience.longest)
    shown = await of_list(trial, states)
    while True:
        running = await backend.hosts()
        again = await of_list(trial, states)
        both = {ref: machine for ref, machine in again.shown.items() if shown.shown.get(ref) == machine}
        either = {**shown.shown, **again.shown}
        last = trial.client.now() >= end
        yield FleetHosts(running=running, shown=either if states is None else both, states=again.states)
        if last:
            return
        shown = again
        await asyncio.sleep(PAUSE_S)


async def of_list(trial: Trial, states: frozenset[State] | None) -> FleetHosts:
    """Returns what the machines in these states show now; None for all states."""
    call = await trial.client.list()
    if not call.answered_ok:
        raise NoAnswer(f"List was not answered: {call.outcome()}")
    machines = (machine for machine in call.response.machines if states is None or machine.state in states)
    return of_machines(machines, frozenset())


def named(trial: Trial, refs: Iterable[str]) -> str:
    """Returns hosts by name, each with the machine that has shown it and its price, and the sum of the prices."""
    shown, parts, cost = trial.model.hosts_shown, [], 0.0
    hosts = sorted(refs)
    for ref in hosts:
        record = shown.get(ref)
        machine = record.machine if record is not None else trial.hosts_before.shown.get(ref, "")
        cost += record.price if record is not None else 0.0
        price = f", {record.price:g} per hour" if record is not None and record.price else ""
        parts.append(f"{cut(ref)} ({f'of {cut(machine)}' if machine else 'no machine has shown it'}{price})")
    total = f", together {cost:g} per hour" if len(hosts) > 1 and cost else ""
    return f"{quantity(len(hosts), 'host')}: {some(parts)}{total}"


def some(parts: list[str]) -> str:
    """Returns the first few parts, and the number of the others."""
    more = len(parts) - MAX_NAMES
    return ", ".join(parts[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
