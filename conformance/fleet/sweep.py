"""Cleans up the machines of a dead run, including those whose Create was never answered."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance.core.errors import ConformanceError, UsageError
from conformance.core.fencing import Shard
from conformance.core.lifecycle import State, state_of
from conformance.fleet.absence import Absence
from conformance.fleet.context import FleetContext, is_other_machine
from conformance.fleet.failed import failures
from conformance.fleet.ledger import Ledger, read
from conformance.fleet.machine import Machine
from conformance.fleet.model import FleetModel
from conformance.fleet.policy import Policy
from conformance.fleet.pool import home_state
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
    write_line: Callable[[str], None] = lambda line: None,
) -> Home:
    """Cleans up every open machine of the ledger at `path`, and returns those that cannot be cleaned up.

    `write_line` gets one line of progress for each machine. Raises UsageError if there is no ledger, if its run is
    still alive, or if it belongs to another target; TargetError if the target cannot be reached.
    """
    if _is_empty(path):
        write_line(f"{path} is empty: the run died before it started any machine")
        return Home()
    record = read(path)
    if record.target != target.address and not any_target:
        raise UsageError(
            f"the ledger belongs to target {record.target}, not {target.address}",
            hint="if both are the same provider, add --any-target",
        )
    redactor = Redactor(target.headers)

    def write_safely(line: str) -> None:
        with suppress(OSError):  # a closed output must not prevent the cleanup
            write_line(line)

    ledger = Ledger(path, run=record.run, target=record.target, hide=redactor.redact)
    ledger.adopt(record)
    model = FleetModel(record.run)
    client = Client(target, rpc_timeout=rpc_timeout, observer=model)
    try:
        if not record.entries:
            return Home()
        with redactor.errors():
            await connect(client, timeout=connect_timeout)
            # New shards: after an earlier sweep, its shards could be fenced.
            found = await probe(client, run=f"{record.run}-sweep-{secrets.token_hex(4)}")
            context = FleetContext(
                run=record.run,
                client=client,
                ledger=ledger,
                meter=Meter(),
                patience=patience,
                deletes=found.delete,
                model=model,
            )
            absence = Absence(client)
            outcomes = await asyncio.gather(
                *(
                    _clean_up(entry, context, absence, number, lambda line: write_safely(redactor.redact(line)))
                    for number, entry in enumerate(record.entries, 1)
                )
            )
        return redactor.home(Home(left=tuple(outcome for outcome in outcomes if outcome is not None)))
    finally:
        await client.close()
        ledger.close()


def _is_empty(path: Path) -> bool:
    """Returns whether the run died before it wrote the ledger's header."""
    return path.is_file() and not path.stat().st_size


async def _clean_up(
    entry: Entry, context: FleetContext, absence: Absence, number: int, write_line: Callable[[str], None]
) -> tuple[str, str] | None:
    """Cleans one machine up. Returns None, or its id and the reason if that failed."""
    machine = Machine(
        entry.machine,
        context,
        number=number,
        home=entry.home,
        live=True,
        # A new shard: those of the dead run and of earlier sweeps are fenced off.
        shard=Shard(f"{context.run}-sweep-{secrets.token_hex(4)}-m{number}"),
        unanswered=UnansweredCalls.of_dead_run(entry.shards),
    )
    machine.policy = Policy(insists=True)
    try:
        if entry.home is State.UNSPECIFIED and await absence.is_certain(machine):
            context.ledger.note_cleaned_up(machine.id)
            return None
        call = await retry_while_overloaded(machine.get, insists=True)
        shown = call.answered_ok and not is_other_machine(call.response, machine.id)
        if shown and (_is_foreign(call.response, entry, context) or await _never_started_by_run(machine, entry)):
            context.ledger.note_lost(machine.id)
            state = state_of(call.response.state).name
            write_line(f"{machine.id} is {state} and owned by another client now: not touched")
            return None
        await machine.fence_off()
        before = machine.state
        home = before if before is State.SPECULATIVE else home_state(entry.home, deletes=context.deletes)
        await machine.drive_to(home, allow_tokenless=True)
        context.ledger.note_cleaned_up(machine.id)
        write_line(f"{machine.id} was {before.name} and is cleaned up")
    except ConformanceError as error:
        if machine.id in (failed := await failures([machine])):
            context.ledger.note_lost(machine.id)
            write_line(f"{machine.id} is FAILED: {failed[machine.id]}; only the provider's operator can clean it up")
            return None
        write_line(f"{machine.id} could not be cleaned up: {error.message}")
        return machine.id, error.message
    except Exception as error:
        # Even after a bug in the kit, the other machines must be cleaned up, and this one reported.
        return machine.id, f"the kit itself failed: {type(error).__name__}: {error}"
    return None


async def _never_started_by_run(machine: Machine, entry: Entry) -> bool:
    """Returns whether the machine lives, but was not started by the dead run, which never saw it alive."""
    if entry.home is not State.SPECULATIVE or entry.host is not None or machine.state is State.SPECULATIVE:
        return False
    return entry.resting or not await machine.may_be_ours()


def _is_foreign(machine: object, entry: Entry, context: FleetContext) -> bool:
    """Returns whether another client owns the machine now: it has another host, or a binding that is not the run's."""
    host, cluster = machine.host.ref, machine.cluster  # type: ignore[attr-defined]  # a pb.Machine
    other = bool(entry.host and host and context.ledger.hide(host) != entry.host)
    return other or bool(cluster and not cluster.startswith(context.run))
