"""Drives a core with a clock that the test sets, and with a newer token in each call."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fence import Token
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import CapacityType, Machine, State
from fake_provider.request import Ack, Configure, Create, Delete, Drain, Filter, Listing, Request

SLOT = "slot"
IDLE = "idle"
OTHER = "other"


def small_fleet() -> list[Machine]:
    slot, idle, other = fleet(3, capacity_types=[CapacityType.ON_DEMAND])
    host = fleet(1, idle=1)[0].host
    return [
        _as(slot, SLOT),
        _as(idle, IDLE, state=State.IDLE, host=host),
        _as(other, OTHER),
    ]


def _as(machine: Machine, machine_id: str, **changes: Any) -> Machine:
    return replace(machine, id=machine_id, **changes)


class Driver:
    """Drives one core; by default each transition takes one second."""

    def __init__(self, core: Core | None = None, **options: Any) -> None:
        options.setdefault("latency", Latency.every(1.0))
        self.core = core or Core(small_fleet(), **options)
        self.now = 1000.0
        self.sequence = 0

    def token(self) -> Token:
        self.sequence += 1
        return Token(shard="driver", epoch=1, sequence=self.sequence)

    def call(self, request: Request) -> Ack:
        return self.core.mutate(request, self.now)

    def create(self, machine_id: str = SLOT, token: Token | None = None) -> Ack:
        return self.call(Create(machine_id=machine_id, token=token or self.token()))

    def configure(
        self,
        machine_id: str = IDLE,
        cluster: str = "blue",
        metadata: Mapping[str, str] | None = None,
        blob: bytes = b"",
        token: Token | None = None,
    ) -> Ack:
        return self.call(
            Configure(
                machine_id=machine_id,
                token=token or self.token(),
                cluster=cluster,
                blob=blob,
                metadata=metadata or {},
            )
        )

    def drain(self, machine_id: str = IDLE, grace: int = 0, token: Token | None = None) -> Ack:
        return self.call(Drain(machine_id=machine_id, token=token or self.token(), grace=grace))

    def delete(self, machine_id: str = IDLE, token: Token | None = None) -> Ack:
        return self.call(Delete(machine_id=machine_id, token=token or self.token()))

    def get(self, machine_id: str) -> Machine:
        return self.core.get(machine_id, self.now)

    def state(self, machine_id: str) -> State:
        return self.get(machine_id).state

    def list(self, **wanted: Any) -> Listing:
        return self.core.list_machines(Filter(**wanted), self.now)

    def ids(self, **wanted: Any) -> set[str]:
        listed = [machine.id for machine in self.list(**wanted).machines]
        assert len(listed) == len(set(listed))
        return set(listed)

    def wait(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.core.advance(self.now)

    def settled(self, ack: Ack) -> Machine:
        self.wait()
        return self.get(ack.machine.id)

    def bound(self, machine_id: str = IDLE, **how: Any) -> Machine:
        return self.settled(self.configure(machine_id, **how))


class refused:  # noqa: N801 - a context manager in the manner of pytest.raises
    """Expects that the block is rejected with this code; by default, with any code except FAILED_PRECONDITION."""

    def __init__(self, code: Code | None = None) -> None:
        self.code = code
        self._raises = pytest.raises(Rejected)

    def __enter__(self) -> None:
        self._caught = self._raises.__enter__()

    def __exit__(self, *exc: Any) -> bool:
        done = bool(self._raises.__exit__(*exc))
        if done and self.code is None:
            assert self._caught.value.code is not Code.FAILED_PRECONDITION
        elif done:
            assert self._caught.value.code is self.code, self._caught.value
        return done


def fenced() -> refused:
    return refused(Code.FAILED_PRECONDITION)
