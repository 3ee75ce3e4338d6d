"""Brings home what a dead run left, and what an answer that it never heard has started."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance.bill import Meter
from conformance.busy import retry_while_overloaded
from conformance.client import Client
from conformance.discretion import Discretion
from conformance.errors import ConformanceError, UsageError
from conformance.found import connect, look
from conformance.ledger import Ledger, read
from conformance.lifecycle import State, state_of
from conformance.machine import Machine, Policy
from conformance.pool import NOBODY, home_of
from conformance.report import Home
from conformance.token import Shard
from conformance.unheard import Unheard
from conformance.yard import Yard, mistaken

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.ledger import Entry
    from conformance.patience import Patience
    from conformance.target import Target


async def sweep(
    path: Path,
    target: Target,
    *,
    patience: Patience,
    rpc_timeout: float,
    connect_timeout: float,
    any_target: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Home:
    """Bring home every machine that the ledger at `path` does not say is home; name what will not come.

    Raises UsageError for no ledger, one of a run that still lives, or one about another target; TargetError where
    the target cannot be reached.
    """
    if _never_began(path):
        say(f"{path} is empty: the run died before it started anything")
        return Home()
    record = read(path)
    if record.target != target.address and not any_target:
        raise UsageError(
            f"the ledger is about {record.target}, not {target.address}",
            hint="if both are the same provider, add --any-target",
        )
    discretion = Discretion(target.headers)

    def tell(line: str) -> None:
        with suppress(OSError):  # who reads no more keeps no machine from coming home
            say(line)

    ledger = Ledger(path, run=record.run, target=record.target, hide=discretion.hide)
    ledger.adopt(record)
    client = Client(target, rpc_timeout=rpc_timeout)
    try:
        if not record.entries:
            return Home()
        with discretion.errors():
            await connect(client, timeout=connect_timeout)
            found = await look(client, run=f"{record.run}-sweep")
            yard = Yard(
                run=record.run,
                client=client,
                ledger=ledger,
                meter=Meter(),
                patience=patience,
                deletes=found.delete,
            )
            fates = await asyncio.gather(
                *(
                    _bring_home(entry, yard, number, lambda line: tell(discretion.hide(line)))
                    for number, entry in enumerate(record.entries, 1)
                )
            )
        return discretion.home(Home(left=tuple(fate for fate in fates if fate is not None)))
    finally:
        await client.close()
        ledger.close()


def _never_began(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


async def _bring_home(entry: Entry, yard: Yard, number: int, say: Callable[[str], None]) -> tuple[str, str] | None:
    machine = Machine(
        entry.machine,
        yard,
        number=number,
        home=entry.home,
        live=True,
        # Neither the dead run's shard, which is fenced off, nor that of an earlier sweep.
        shard=Shard(f"{yard.run}-sweep-{secrets.token_hex(4)}-m{number}"),
        unanswered=Unheard.of_dead_run(entry.shards),
    )
    machine.policy = Policy(insists=True)
    try:
        call = await retry_while_overloaded(machine.get, insists=True)
        if call.code in NOBODY and entry.home is State.UNSPECIFIED:
            yard.ledger.home(machine.id)
            return None
        shown = call.ok and not mistaken(call.response, machine.id)
        if shown and (_foreign(call.response, entry, yard) or await _never_ours(machine, entry)):
            yard.ledger.lost(machine.id)
            say(f"{machine.id} is {state_of(call.response.state).name} for somebody else now: not touched")
            return None
        await machine.fence_off()
        before = machine.state
        home = before if before is State.SPECULATIVE else home_of(entry.home, deletes=yard.deletes)
        await machine.bring(home, at_all_costs=True)
        yard.ledger.home(machine.id)
        say(f"{machine.id} was {before.name} and is home")
    except ConformanceError as error:
        say(f"{machine.id} is left: {error.message}")
        return machine.id, error.message
    except Exception as error:
        # Whatever is wrong with us, the others are to come home, and this one is to be named.
        return machine.id, f"the kit itself failed: {type(error).__name__}: {error}"
    return None


async def _never_ours(machine: Machine, entry: Entry) -> bool:
    """Whether the machine lives, was never seen to live by the dead run, and not through any call of it."""
    if entry.home is not State.SPECULATIVE or entry.host is not None or machine.state is State.SPECULATIVE:
        return False
    return entry.resting or not await machine.may_be_ours()


def _foreign(machine: object, entry: Entry, yard: Yard) -> bool:
    """Whether the machine's life is another one than the dead run's: another host, or a binding that it never made."""
    host, cluster = machine.host.ref, machine.cluster  # type: ignore[attr-defined]  # a pb.Machine
    other = bool(entry.host and host and yard.ledger.hide(host) != entry.host)
    return other or bool(cluster and not cluster.startswith(yard.run))
