"""Cleans up the machines of a dead run, those included whose Create was never answered."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance.core.errors import ConformanceError, UsageError
from conformance.core.fencing import Shard
from conformance.core.lifecycle import State, state_of
from conformance.fleet.context import FleetContext, is_other_machine
from conformance.fleet.ledger import Ledger, read
from conformance.fleet.machine import Machine, Policy
from conformance.fleet.pool import NO_SUCH_MACHINE_CODES, home_of
from conformance.fleet.probe import connect, probe
from conformance.fleet.unanswered import UnansweredCalls
from conformance.results.bill import Meter
from conformance.results.redaction import Redactor
from conformance.results.report import Home
from conformance.rpc.backoff import retry_while_overloaded
from conformance.rpc.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.core.timeouts import Patience
    from conformance.fleet.ledger import Entry
    from conformance.rpc.target import Target


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
    """Cleans up every machine that the ledger at `path` has open, and names those that cannot be cleaned up.

    Raises UsageError if there is no ledger, if its run still lives, or if it is about another target; TargetError if
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
    discretion = Redactor(target.headers)

    def tell(line: str) -> None:
        with suppress(OSError):  # a closed output must not keep machines from being cleaned up
            say(line)

    ledger = Ledger(path, run=record.run, target=record.target, hide=discretion.redact)
    ledger.adopt(record)
    client = Client(target, rpc_timeout=rpc_timeout)
    try:
        if not record.entries:
            return Home()
        with discretion.errors():
            await connect(client, timeout=connect_timeout)
            found = await probe(client, run=f"{record.run}-sweep")
            yard = FleetContext(
                run=record.run,
                client=client,
                ledger=ledger,
                meter=Meter(),
                patience=patience,
                deletes=found.delete,
            )
            outcomes = await asyncio.gather(
                *(
                    _bring_home(entry, yard, number, lambda line: tell(discretion.redact(line)))
                    for number, entry in enumerate(record.entries, 1)
                )
            )
        return discretion.home(Home(left=tuple(outcome for outcome in outcomes if outcome is not None)))
    finally:
        await client.close()
        ledger.close()


def _never_began(path: Path) -> bool:
    """Returns whether the run died before its first entry."""
    return path.is_file() and not path.stat().st_size


async def _bring_home(
    entry: Entry, yard: FleetContext, number: int, say: Callable[[str], None]
) -> tuple[str, str] | None:
    """Cleans one machine up; returns its id and the reason if that is not possible."""
    machine = Machine(
        entry.machine,
        yard,
        number=number,
        home=entry.home,
        live=True,
        # Neither the dead run's shard, which is fenced off, nor that of an earlier sweep.
        shard=Shard(f"{yard.run}-sweep-{secrets.token_hex(4)}-m{number}"),
        unanswered=UnansweredCalls.of_dead_run(entry.shards),
    )
    machine.policy = Policy(insists=True)
    try:
        call = await retry_while_overloaded(machine.get, insists=True)
        if call.code in NO_SUCH_MACHINE_CODES and entry.home is State.UNSPECIFIED:
            yard.ledger.home(machine.id)
            return None
        shown = call.ok and not is_other_machine(call.response, machine.id)
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
        # Even after a bug in the kit, the other machines must be cleaned up, and this one named.
        return machine.id, f"the kit itself failed: {type(error).__name__}: {error}"
    return None


async def _never_ours(machine: Machine, entry: Entry) -> bool:
    """Returns whether the machine lives, but not through any call of the dead run, which never saw it live."""
    if entry.home is not State.SPECULATIVE or entry.host is not None or machine.state is State.SPECULATIVE:
        return False
    return entry.resting or not await machine.may_be_ours()


def _foreign(machine: object, entry: Entry, yard: FleetContext) -> bool:
    """Returns whether another client owns the machine now: it has another host, or a binding that is not the run's."""
    host, cluster = machine.host.ref, machine.cluster  # type: ignore[attr-defined]  # a pb.Machine
    other = bool(entry.host and host and yard.ledger.hide(host) != entry.host)
    return other or bool(cluster and not cluster.startswith(yard.run))
