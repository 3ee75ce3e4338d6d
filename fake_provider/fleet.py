"""The fleet that a provider starts with."""

import hashlib
import random
from collections.abc import Sequence

from fake_provider.faults import CREATE_FAULTS, FAULT_LABEL
from fake_provider.machine import CapacityType, Host, InstanceType, Machine, State

PROVIDER = "fake"
"""The `host.provider` of every host."""

_ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
_ALL_TYPES = (CapacityType.ON_DEMAND, CapacityType.SPOT, CapacityType.RESERVED, CapacityType.BARE_METAL)
_PRICE_FACTORS = {
    CapacityType.ON_DEMAND: 1.0,
    CapacityType.SPOT: 0.3,
    CapacityType.RESERVED: 0.6,
    CapacityType.BARE_METAL: 0.0,  # has no hourly price
}

_INSTANCE_TYPES = (
    InstanceType(
        name="m6.large",
        resources={"cpu": "2", "memory": "8Gi", "pods": "29"},
        allocatable={"cpu": "1930m", "memory": "7168Mi", "pods": "29"},
    ),
    InstanceType(
        name="m6.2xlarge",
        resources={"cpu": "8", "memory": "32Gi", "pods": "58"},
        allocatable={"cpu": "7910m", "memory": "30Gi", "pods": "58"},
    ),
    InstanceType(
        name="r6.4xlarge",
        resources={"cpu": "16", "memory": "128Gi", "pods": "234"},
        allocatable={"cpu": "15890m", "memory": "120Gi", "pods": "234"},
    ),
    InstanceType(
        name="g5.12xlarge",
        resources={"cpu": "48", "memory": "192Gi", "nvidia.com/gpu": "4", "pods": "234"},
        allocatable={"cpu": "47810m", "memory": "180Gi", "nvidia.com/gpu": "4", "pods": "234"},
    ),
)
_ON_DEMAND_PRICES = {"m6.large": 0.096, "m6.2xlarge": 0.384, "r6.4xlarge": 1.008, "g5.12xlarge": 5.672}


def fleet(
    machines: int = 64,
    *,
    idle: int = 0,
    seed: int = 0,
    capacity_types: Sequence[CapacityType] = (),
    faulty: int = 0,
) -> list[Machine]:
    """Returns a fleet of `machines` machines, the same for the same seed; the first `idle` of them have a host.

    The machines alternate between `capacity_types`, or between all types if it is empty. `faulty` is the number of
    extra slots, labelled so that their Create fails if faults are enabled: each in one of the ways, in turn.
    """
    rng = random.Random(seed)
    types = tuple(capacity_types) or _ALL_TYPES
    width = max(4, len(str(machines)))
    built = [
        _machine(f"machine-{index + 1:0{width}}", types[index % len(types)], rng, has_host=index < idle)
        for index in range(machines)
    ]
    built += [
        _machine(
            f"faulty-{index + 1:0{width}}",
            types[index % len(types)],
            rng,
            create_fault=CREATE_FAULTS[index % len(CREATE_FAULTS)],
        )
        for index in range(faulty)
    ]
    return built


def host_for(seed: str) -> Host:
    """Returns a host with a unique ref; the seed is a machine id or the operation id of a Create."""
    return Host(provider=PROVIDER, ref="i-" + hashlib.sha256(seed.encode()).hexdigest()[:17])


def _machine(
    machine_id: str, capacity_type: CapacityType, rng: random.Random, *, has_host: bool = False, create_fault: str = ""
) -> Machine:
    instance_type = rng.choice(_INSTANCE_TYPES)
    zone = rng.choice(_ZONES)
    labels = {
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": instance_type.name,
        "topology.kubernetes.io/zone": zone,
    }
    return Machine(
        id=machine_id,
        state=State.IDLE if has_host else State.SPECULATIVE,
        host=host_for(machine_id) if has_host else None,
        instance_type=instance_type,
        zone=zone,
        capacity_type=capacity_type,
        price_per_hour=round(_ON_DEMAND_PRICES[instance_type.name] * _PRICE_FACTORS[capacity_type], 4),
        interruption_probability=round(rng.uniform(0.01, 0.2), 4) if capacity_type is CapacityType.SPOT else 0.0,
        labels=labels | {FAULT_LABEL: create_fault} if create_fault else labels,
    )
