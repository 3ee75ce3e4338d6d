"""The ownership of a machine, and how the kit claims a machine that it has created.

Two kits that find the same slot SPECULATIVE and create it at once are both answered OK with the same operation id,
because a retry is keyed on the machine (OPS-2). So the kit claims each machine that it creates, with the means of
the contract: it sends a Drain, which has no edge there, with the token (1, 1) of a shard named after the operation
id. Of two equal fencing tokens only one is accepted (FEN-11), so the first claimant wins.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from conformance.core.fencing import Token
from conformance.core.lifecycle import State, state_of
from conformance.rpc.client import LOST_CONNECTION_DELAYS

if TYPE_CHECKING:
    from conformance.rpc.client import Client


class Owner(Enum):
    """The owner of a machine, if it is known."""

    FREE = auto()
    """It is a free slot, or was one when it was last seen."""
    CONTESTED = auto()
    """The kit has created it, and its claim is pending."""
    OURS = auto()
    OTHER_CLIENT = auto()
    """Another client owns it, or did when it was last seen: the kit must not drive it."""


_OF_THE_KIT: Final = (Owner.CONTESTED, Owner.OURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """The owner of a machine, and what is known about earlier owners."""

    owner: Owner = Owner.FREE
    won: bool = False
    """The kit has won a claim on it and has not lost the machine since. Kits that lost the claim use other slots."""
    lost_race: bool = False
    """Another client has claimed the machine first, at least once."""
    possibly_ours: bool = False
    """Probably owned by another client, but possibly started by our own Create."""
    deleting: bool = False
    """The kit has sent a Delete. If the machine then has another host, another client has created it again."""

    @property
    def live(self) -> bool:
        """Returns whether the machine has a host that belongs to the kit."""
        return self.owner in _OF_THE_KIT

    def disowned(self, *, create_sent: bool) -> Ownership:
        """Returns the ownership of another client. `create_sent`: a Create of the kit may have started the machine."""
        return replace(self, owner=Owner.OTHER_CLIENT, won=False, possibly_ours=self.possibly_ours or create_sent)

    def contested(self) -> Ownership:
        """Returns the ownership of a machine that the kit has created and claims."""
        return replace(self, owner=Owner.CONTESTED, deleting=False)

    def claimed(self) -> Ownership:
        """Returns the ownership after the kit has won its claim."""
        return replace(self, owner=Owner.OURS, won=True, possibly_ours=False)

    def claim_lost(self) -> Ownership:
        """Returns the ownership after another client has won the claim."""
        return replace(self, lost_race=True)

    def found(self, *, live: bool) -> Ownership:
        """Returns the ownership once no call of the kit is in flight: the kit owns the machine if it is `live`."""
        if live:
            return replace(self, owner=Owner.OURS)
        return replace(self, owner=Owner.FREE) if self.live else self


async def claim_ownership(client: Client, machine_id: str, operation_id: str, *, shard: str) -> bool:
    """Returns whether the kit is the first to claim the machine that the operation `operation_id` has created.

    `shard` is a shard id that no other client uses. A claim whose connection is lost is sent again until the fence
    answers, so that it cannot arrive later. If it is fenced then, the lost call has probably spent the token, so the
    kit keeps the machine. This is wrong only if the kit loses the race as well as its first answer.
    """
    name = hashlib.sha256(f"{machine_id}\0{operation_id}".encode()).hexdigest()[:16]
    token = Token(f"claim-{name}", 1, 1)
    claim, repeated = await client.drain(machine_id, token), False
    for delay in LOST_CONNECTION_DELAYS:
        if not claim.cut_off:
            break
        await asyncio.sleep(delay)
        claim, repeated = await client.drain(machine_id, token), True
    if not claim.answered or not claim.fenced or repeated:
        return True
    shown = await client.get(machine_id)
    if shown.answered_ok and state_of(shown.response.state) in (State.CONFIGURING, State.CONFIGURED):
        # Another client has bound it already, and a Drain with a token that is accepted would unbind it.
        return False
    # The claim is lost, unless this fence refuses every token: try a shard id that no other client can know.
    control = await client.drain(machine_id, Token(f"{shard}-claim-{name}", 1, 1))
    return control.answered and control.fenced
