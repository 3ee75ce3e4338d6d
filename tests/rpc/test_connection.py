from __future__ import annotations

from typing import Any

from conformance.rpc.connection import PrivateConnection


def test_a_task_that_outlives_its_behaviour_uses_the_shared_connection() -> None:
    private, shared = PrivateConnection(), Any
    private.close()
    assert private.current(shared) is shared  # type: ignore[arg-type, comparison-overlap]
