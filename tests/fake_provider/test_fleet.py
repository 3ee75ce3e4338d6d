import math
import re

import pytest

from fake_provider.fleet import fleet
from fake_provider.machine import CapacityType, State

QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|[KMGTPE]i?)?")


def test_every_machine_has_valid_fields() -> None:
    for machine in fleet(200, idle=50, faulty=3):
        assert machine.id
        assert machine.instance_type.name
        assert machine.zone
        assert machine.capacity_type is not CapacityType.UNSPECIFIED
        assert math.isfinite(machine.price_per_hour)
        assert machine.price_per_hour >= 0
        assert 0 <= machine.interruption_probability <= 1
        assert (machine.interruption_probability > 0) == (machine.capacity_type is CapacityType.SPOT)
        for quantities in (machine.instance_type.resources, machine.instance_type.allocatable):
            assert quantities
            assert all(QUANTITY.fullmatch(each) for each in quantities.values())


def test_the_first_machines_are_idle_with_different_hosts() -> None:
    machines = fleet(5, idle=2)
    assert [m.state for m in machines] == [State.IDLE] * 2 + [State.SPECULATIVE] * 3
    assert [m.host is not None for m in machines] == [True, True, False, False, False]
    assert machines[0].host != machines[1].host


def test_the_same_seed_builds_the_same_fleet() -> None:
    assert fleet(20, seed=1) == fleet(20, seed=1)
    assert fleet(20, seed=1) != fleet(20, seed=2)


def test_machines_alternate_between_capacity_types() -> None:
    wanted = [CapacityType.SPOT, CapacityType.RESERVED]
    assert [m.capacity_type for m in fleet(4, capacity_types=wanted)] == wanted * 2
    assert len({m.capacity_type for m in fleet(8)}) == 4


@pytest.mark.parametrize("count", [0, 1, 20_000])
def test_ids_are_unique(count: int) -> None:
    assert len({m.id for m in fleet(count, faulty=2)}) == count + 2
