"""The model finds no breach in any sequence of calls to a conformant provider, overlapping or not, answered or not."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conformance.core.fencing import Token
from conformance.core.lifecycle import Verb
from conformance.core.virtual_clock import virtual_clock
from conformance.fleet.model import FleetModel
from conformance.rpc.client import Client
from fake_provider import machine as machines
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import Machine, State
from selftest import mutants as mutants
from selftest.mutant import MUTANTS
from selftest.variants import ConfiguringHidesItsCluster, EveryNinthCreateFails, ListLags
from tests.clockwork import serving_in_process
from tests.fleet.model.telling import RUN

MACHINES = ("machine-0001", "machine-0002")
ASK = st.tuples(
    st.sampled_from([*Verb, *Verb, "Get", "List", "Delta"]),
    st.sampled_from(MACHINES),
    st.sampled_from(["a", "b"]),
    st.integers(-2, 1),
    st.sampled_from(["c1", "c2"]),
    st.sampled_from([{}, {"k": "v"}]),
    st.sampled_from([0.0, 0.0, 0.005, 0.03]),
    st.sampled_from([None, None, None, 0.004]),
)
"""A call: RPC, machine, shard, distance from the newest token, cluster, metadata, pause after it, and deadline."""


FAILED_WAS_READ: list[Any] = [
    (Verb.CREATE, "machine-0001", "b", 0, "c1", {}, 0.0, None),
    (Verb.DRAIN, "machine-0002", "b", 1, "c2", {}, 0.03, None),
    (Verb.DELETE, "machine-0001", "b", 0, "c1", {}, 0.0, None),
    (Verb.DELETE, "machine-0002", "a", 0, "c2", {}, 0.03, None),
    ("Get", "machine-0001", "a", 0, "c1", {}, 0.0, None),
    (Verb.DELETE, "machine-0002", "b", 1, "c1", {}, 0.0, 0.004),
    (Verb.CONFIGURE, "machine-0002", "a", 1, "c2", {}, 0.005, None),
    (Verb.CREATE, "machine-0001", "b", 0, "c1", {}, 0.03, 0.004),
    ("Get", "machine-0001", "a", 0, "c2", {}, 0.0, 0.004),
    (Verb.CONFIGURE, "machine-0001", "b", -2, "c1", {}, 0.0, None),
    ("Get", "machine-0002", "a", -2, "c1", {}, 0.005, None),
    (Verb.DELETE, "machine-0001", "a", 1, "c2", {}, 0.03, 0.004),
    (Verb.CONFIGURE, "machine-0001", "b", -2, "c1", {}, 0.03, 0.004),
]
"""A Get that overlaps with a call shows FAILED, and the machine is repaired before the next one."""


class FailsAndIsCleanedUp(Core):
    """Fails every third transition, and the machine is repaired a while after a client has read that: a slot, or IDLE.

    A Delete that has failed is completed: a machine that is IDLE soon after a Delete has gone back silently (FLT-1).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.settled = 0
        self.read_at: dict[str, float] = {}
        super().__init__(*arguments, **options)

    def settle(self, machine: Machine) -> Machine:
        self.settled += 1
        return self.failed(machine, "boom") if self.settled % 3 == 0 else super().settle(machine)

    def get(self, machine_id: str, now: float) -> Machine:
        machine = super().get(machine_id, now)
        if machine.state is State.FAILED:
            self.read_at.setdefault(machine.id, now)
        return machine

    def advance(self, now: float) -> None:
        super().advance(now)
        for machine_id, read_at in list(self.read_at.items()):
            if now - read_at > 0.05:
                del self.read_at[machine_id]
                self.repair(self.machines[machine_id])

    def repair(self, machine: Machine) -> None:
        deleted = machine.operation is not None and machine.operation.verb is machines.Verb.DELETE
        stays = machine.host is not None and not deleted and self.settled % 2
        clean = self.cleared_by_drain(machine) if stays else self.cleared_by_delete(machine)
        self.put(replace(clean, state=State.IDLE if stays else State.SPECULATIVE, operation=None))


def breaches_of(core: type[Core], asks: list[Any], *, delay: float = 0.0) -> list[str]:
    """Returns the breaches that the model finds in these calls."""
    model, newest, cursor = FleetModel(RUN), {"a": 0, "b": 0}, b""

    async def ask(client: Client, what: Any) -> None:
        nonlocal cursor
        rpc, machine_id, name, distance, cluster, metadata, _, limit = what
        if rpc == "Get":
            await client.get(machine_id)
        elif rpc in ("List", "Delta"):
            listed = await client.list(since=cursor if rpc == "Delta" else b"")
            cursor = listed.response.revision if listed.answered_ok else cursor
        else:
            newest[name] += max(distance, 0)
            token = Token(f"{RUN}-{name}", 1, max(0, newest[name] + min(distance, 0)))
            options: dict[str, Any] = {"timeout": limit}
            if rpc is Verb.CONFIGURE:
                options |= {"cluster": cluster, "metadata": metadata}
            await getattr(client, rpc.value.lower())(machine_id, token, **options)

    async def go() -> None:
        provider = core(fleet(len(MACHINES)), latency=Latency.every(0.02))
        async with serving_in_process(provider, rpc_delay=delay) as target:
            client = Client(target, rpc_timeout=5.0, observer=model)
            for machine_id in MACHINES:
                model.take(machine_id)
            tasks = []
            for what in asks:
                tasks.append(asyncio.create_task(ask(client, what)))
                await asyncio.sleep(what[6])
                if what[7] is None and what[6]:
                    await tasks[-1]
            await asyncio.gather(*tasks)
            for machine_id in MACHINES:
                await client.get(machine_id)
            await client.close()

    virtual_clock(go())
    return [f"{breach.behaviour}: {breach.text}" for breach in model.breaches]


@pytest.mark.parametrize(
    "core", [Core, ConfiguringHidesItsCluster, EveryNinthCreateFails, ListLags, FailsAndIsCleanedUp]
)
@settings(max_examples=60, deadline=None)
@given(asks=st.lists(ASK, min_size=5, max_size=40), delay=st.sampled_from([0.0, 0.002]))
@example(asks=FAILED_WAS_READ, delay=0.002)
def test_a_conformant_provider_breaks_nothing(core: type[Core], asks: list[Any], delay: float) -> None:
    assert breaches_of(core, asks, delay=delay) == []


def drawn_asks(seed: int, count: int) -> list[Any]:
    """Returns calls as the property above draws them, but more of them, and most with a new token."""
    rng = random.Random(seed)
    return [
        (
            rng.choice([*Verb, *Verb, "Get", "List"]),
            rng.choice(MACHINES),
            rng.choice("ab"),
            rng.choice((1, 1, 1, 0, -1)),
            rng.choice(("c1", "c2")),
            rng.choice(({}, {"k": "v"})),
            rng.choice((0.0, 0.03, 0.03)),
            rng.choice((None, None, None, 0.004)),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("mutant", "behaviour"),
    [
        ("EqualTokenPasses", "FEN-1"),
        ("DrainIsNotFenced", "FEN-1"),
        ("GetLeavesMetadataOut", "MET-1"),
        ("AckLeavesMetadataOut", "MET-1"),
        ("DrainClearsMetadataAtOnce", "MET-1"),
    ],
)
def test_the_same_calls_show_the_breaches_of_a_broken_one(mutant: str, behaviour: str) -> None:
    found = breaches_of(MUTANTS[mutant].core, drawn_asks(1, 300))
    assert [each for each in found if each.startswith(behaviour)] != []
    assert breaches_of(Core, drawn_asks(1, 300)) == []
