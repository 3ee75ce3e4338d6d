"""The inventory that a provider starts with."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fake_provider.faults import FAULT_LABEL
from fake_provider.machine import CapacityType, Host, Machine, State

PROVIDER = "fake"
"""The `host.provider` of every host."""

_ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
_MIXED = (CapacityType.ON_DEMAND, CapacityType.SPOT, CapacityType.RESERVED, CapacityType.BARE_METAL)
_DISCOUNT = {
    CapacityType.ON_DEMAND: 1.0,
    CapacityType.SPOT: 0.3,
    CapacityType.RESERVED: 0.6,
    CapacityType.BARE_METAL: 0.0,  # paid for long ago
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """An instance type: what it is called, holds and costs on demand."""

    name: str
    resources: Mapping[str, str]
    allocatable: Mapping[str, str]
    price: float


_SHAPES = (
    Shape(
        name="m6.large",
        resources={"cpu": "2", "memory": "8Gi", "pods": "29"},
        allocatable={"cpu": "1930m", "memory": "7168Mi", "pods": "29"},
        price=0.096,
    ),
    Shape(
        name="m6.2xlarge",
        resources={"cpu": "8", "memory": "32Gi", "pods": "58"},
        allocatable={"cpu": "7910m", "memory": "30Gi", "pods": "58"},
        price=0.384,
    ),
    Shape(
        name="r6.4xlarge",
        resources={"cpu": "16", "memory": "128Gi", "pods": "234"},
        allocatable={"cpu": "15890m", "memory": "120Gi", "pods": "234"},
        price=1.008,
    ),
    Shape(
        name="g5.12xlarge",
        resources={"cpu": "48", "memory": "192Gi", "nvidia.com/gpu": "4", "pods": "234"},
        allocatable={"cpu": "47810m", "memory": "180Gi", "nvidia.com/gpu": "4", "pods": "234"},
        price=5.672,
    ),
)


def fleet(
    machines: int = 64,
    *,
    idle: int = 0,
    seed: int = 0,
    capacity_types: Sequence[CapacityType] = (),
    faulty: int = 0,
) -> list[Machine]:
    """So many machines, the same for the same seed; the first `idle` of them with a host.

    `capacity_types` are dealt in turn; none means a mixture of all. `faulty` slots come on top, labelled so
    that their Create fails where faults are on.
    """
    rng = random.Random(seed)
    types = tuple(capacity_types) or _MIXED
    width = max(4, len(str(machines)))
    built = [
        _machine(f"machine-{index + 1:0{width}}", types[index % len(types)], rng, has_host=index < idle)
        for index in range(machines)
    ]
    built += [
        _machine(f"faulty-{index + 1:0{width}}", types[index % len(types)], rng, faulty=True) for index in range(faulty)
    ]
    return built


def host_for(seed: str) -> Host:
    """A host whose ref nobody else has: the seed is a machine's id, or the Create's operation id."""
    return Host(provider=PROVIDER, ref="i-" + hashlib.sha256(seed.encode()).hexdigest()[:17])


def _machine(
    machine_id: str, kind: CapacityType, rng: random.Random, *, has_host: bool = False, faulty: bool = False
) -> Machine:
    shape = rng.choice(_SHAPES)
    zone = rng.choice(_ZONES)
    labels = {
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": shape.name,
        "topology.kubernetes.io/zone": zone,
    }
    return Machine(
        id=machine_id,
        state=State.IDLE if has_host else State.SPECULATIVE,
        host=host_for(machine_id) if has_host else None,
        instance_type=shape.name,
        zone=zone,
        capacity_type=kind,
        price_per_hour=round(shape.price * _DISCOUNT[kind], 4),
        interruption_probability=round(rng.uniform(0.01, 0.2), 4) if kind is CapacityType.SPOT else 0.0,
        resources=shape.resources,
        allocatable=shape.allocatable,
        labels=labels | {FAULT_LABEL: "error"} if faulty else labels,
    )
