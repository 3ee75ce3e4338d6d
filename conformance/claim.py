"""Whose a life of a machine is: of equal tokens only one passes (FEN-11), and the operation id says of what."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from conformance.lifecycle import State, state_of
from conformance.token import Token

if TYPE_CHECKING:
    from conformance.client import Client


async def won(client: Client, machine_id: str, operation_id: str, *, shard: str) -> bool:
    """Whether we are the first to claim the life that `operation_id` has begun; `shard` is one that is ours alone."""
    name = hashlib.sha256(f"{machine_id}\0{operation_id}".encode()).hexdigest()[:16]
    if not (await client.drain(machine_id, Token(f"claim-{name}", 1, 1))).fenced:
        return True
    shown = await client.get(machine_id)
    if shown.ok and state_of(shown.response.state) in (State.CONFIGURING, State.CONFIGURED):
        return False  # bound already, and not by us: it is not to be drained
    # Lost, unless this fence refuses everybody: a shard that nobody else can know, with the same numbers.
    return (await client.drain(machine_id, Token(f"{shard}-claim-{name}", 1, 1))).fenced
