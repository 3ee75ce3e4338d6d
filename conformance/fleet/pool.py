"""The pool of a run's machines: leases them, restores them after each lease, retires faulty ones, cleans all up.

Machines cost money. A SPECULATIVE slot costs nothing. A machine that lives is leased repeatedly, and the pool keeps no
more machines alive at once than it needs.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from conformance.core.errors import ConformanceError, Disturbed, NoAnswer, Shortage, TargetError, Unprepared
from conformance.core.lifecycle import State, create_fails_by_label, state_of
from conformance.fleet.absence import NO_SUCH_MACHINE_CODES, Absence
from conformance.fleet.context import is_other_machine
from conformance.fleet.failed import failures
from conformance.fleet.needs import Needs
from conformance.fleet.ownership import Owner
from conformance.fleet.policy import Policy
from conformance.fleet.selection import Capacity, Load, Stock, choose, room
from conformance.fleet.unanswered import Doubt
from conformance.results.report import Home
from conformance.rpc.backoff import RETRY_DELAYS, retry_while_overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence

    from conformance.fleet.context import FleetContext
    from conformance.fleet.machine import Machine
    from conformance.fleet.repair import Repair

MAX_FAILURES_IN_A_ROW = 3
"""After this many machines in a row that could not be prepared, the pool stops trying: each one costs money."""

_LEASES = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Machines for one behaviour, and the states in which it needs them. A lease can be released once."""

    machines: tuple[Machine, ...]
    starts: tuple[State, ...]
    number: int = field(default_factory=_LEASES.__next__, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The number of machines in a row that did not reach a state, and the reason of the last one."""

    count: int
    reason: str


class Pool:
    """The machines of a run, each of which is free, leased, or retired: never leased again."""

    def __init__(
        self, machines: Sequence[Machine], context: FleetContext, *, max_alive: int, limit: int | None = None
    ) -> None:
        """`max_alive` machines are kept alive; at most `limit` may live at once, including retired ones."""
        self.quarantined: dict[str, str] = {}
        """The reasons why machines were retired, by id, except machines that another client has taken."""
        self._context = context
        self._capacity = Capacity(preferred=max_alive, limit=limit)
        self._known = list(machines)
        self._free = list(machines)
        self._leases: dict[int, list[Machine]] = {}
        """The machines of each lease that is not released yet, by its number."""
        self._leased: dict[Machine, bool] = {}
        """The leased machines; True if the kit has started it, or will. One that was found IDLE costs no more."""
        self._retired: list[Machine] = []
        """Machines that are never leased again. They may still live."""
        self._taken: set[str] = set()
        """The ids of slots that another client has ever taken."""
        self._lost_in_a_row = 0
        """The number of machines in a row that another client had claimed first."""
        self._started = 0
        """The number of machines that were started for leases, not counting those that behaviours start themselves."""
        self._failures: dict[State, Failures] = {}

    @property
    def lost_claim(self) -> bool:
        """Returns whether another client has claimed a slot before the kit did."""
        return any(machine.ownership.lost_race for machine in self._known)

    @property
    def in_use(self) -> bool:
        """Returns whether any machine is leased."""
        return bool(self._leased)

    @property
    def touched(self) -> frozenset[str]:
        """The ids of the machines to which a mutating call was ever sent."""
        return frozenset(machine.id for machine in self._known if machine.touched)

    @property
    def without_delete(self) -> tuple[str, ...]:
        """The ids of the machines that could not be deleted, because Delete was answered UNIMPLEMENTED (LIF-8)."""
        return tuple(machine.id for machine in self._known if machine.record.calls.delete_unimplemented)

    @property
    def any_failed(self) -> bool:
        """Returns whether a machine that the kit has driven was last seen in FAILED."""
        return any(machine.touched and machine.state is State.FAILED for machine in self._known)

    async def repair(self, repair: Repair) -> Sequence[str]:
        """Repairs the FAILED machines of the kit, one at a time; returns what went wrong."""
        problems = []
        for machine in [m for m in self._known if m.touched and m.state is State.FAILED]:
            self._context.model.repaired(machine.id)
            try:
                await repair.repair(machine.id)
                await machine.settle()
            except ConformanceError as error:
                problems.append(f"{machine.id} was not cleaned up: {error.message}")
        return problems

    def resting(self) -> dict[str, int]:
        """Returns the machines that no behaviour drives now, by id, with the number of calls that were sent to each."""
        return {m.id: m.record.calls.sent for m in self._free if not m.unanswered}

    def at_rest(self) -> dict[str, Machine]:
        """Returns the kit's living machines that no behaviour drives now, and those that do not exist, by id."""
        strangers = {m.id: m for m in self._known if m.home is State.UNSPECIFIED and not m.unanswered}
        return strangers | {m.id: m for m in self._free if m.live and m.state.stable and not m.unanswered}

    def driven_since(self, resting: Mapping[str, int]) -> frozenset[str]:
        """Returns the machines that the run drives, or has driven since it returned `resting`, or could not restore."""
        now = self.resting()
        return frozenset(each for each in self.touched if each not in now or now[each] != resting.get(each))

    def unavailable_reason(self, needs: Needs) -> str | None:
        """Returns why `needs` cannot be met, now or later in this run; None if they may be met."""
        for start in needs.starts if self._failures else ():
            failures = self._failures.get(start)
            if failures is not None and failures.count >= MAX_FAILURES_IN_A_ROW:
                return f"no machine reaches {start.name}: {failures.reason}"
        limit, lost = self._capacity.limit, self._lost_in_a_row
        lost_too_many = lost > max(2 * MAX_FAILURES_IN_A_ROW, self._capacity.preferred)
        if limit is None and not lost_too_many:
            return None
        lives = sum(needs.creates or start is not State.SPECULATIVE for start in needs.starts)
        if not lives:
            return None
        if lost_too_many:
            return (
                f"{lost} machines in a row were already claimed by another client, or reuse an old operation id (OPS-3)"
            )
        if limit is not None and lives + (retired := self._retired_alive) > limit:
            machines = "1 machine" if retired == 1 else f"{retired} machines"
            return f"--max-machines {limit} reached: {machines} could not be cleaned up and may still be running"
        return None

    def lease(
        self, needs: Needs, *, reserved: Collection[State] = (), may_delete: bool = True, may_create: bool = True
    ) -> Lease | None:
        """Returns machines for `needs`, all or none; None if there are not enough now. Sends no call.

        While any machine is leased, machines in a state of `reserved` are left to leases that start there. Unless
        `may_delete`, no machine is chosen to be deleted for a slot; unless `may_create`, none to be created.
        """
        live = [m for m in self._free if m.live]
        deletable = [m for m in live if m.home is State.SPECULATIVE]
        if needs.deletes:
            # Delete a machine that was found IDLE only if there is no other.
            live.sort(key=lambda m: m.home is not State.SPECULATIVE)
        stock = Stock(
            live=live,
            slots=self._slots(),
            deletable=deletable if may_delete and self._context.deletes else [],
            room=room(needs, self._load(len(deletable)), self._capacity) if may_create else 0,
            reserved=reserved if self._leased else (),
            slot_may_return=self._context.deletes and any(self._leased.values()),
        )
        chosen = choose(stock, needs)
        if chosen is None:
            return None
        for machine, state in zip(chosen, needs.starts, strict=True):
            lives = machine.live or needs.creates or state is not State.SPECULATIVE
            self._take(machine, lives=lives)
            self._started += self._leased[machine] and not machine.live
        return self._new_lease(chosen, needs.starts)

    def _take(self, machine: Machine, *, lives: bool) -> None:
        self._free.remove(machine)
        self._leased[machine] = lives and machine.home is State.SPECULATIVE

    def _new_lease(self, machines: Sequence[Machine], starts: tuple[State, ...]) -> Lease:
        lease = Lease(machines=tuple(machines), starts=starts)
        self._leases[lease.number] = [*machines]
        return lease

    def has_slots(self, needs: Needs) -> bool:
        """Returns whether enough slots are free, although other slots may be more suitable later."""
        return len(self._slots()) >= needs.machines

    def _slots(self) -> list[Machine]:
        """Returns the free slots: first those that the kit owned before, then those that no other client has taken."""
        slots = [m for m in self._free if not m.live and m.home is State.SPECULATIVE]
        return sorted(slots, key=lambda m: (not m.ownership.won, m.id in self._taken))

    def _load(self, free: int) -> Load:
        """Returns the load if `free` of the free machines were started by the kit and live."""
        leased = sum(self._leased.values())
        return Load(
            leased=leased,
            alive=leased + free,
            retired=self._retired_alive,
            started=self._started,
            deletes=self._context.deletes,
        )

    @property
    def _retired_alive(self) -> int:
        """The number of retired machines that the kit has started, or may have, and that may still live."""
        return sum(m.may_be_alive and m.home is State.SPECULATIVE for m in self._retired)

    async def prepare(self, lease: Lease) -> None:
        """Drives each leased machine to its start state.

        Raises Unprepared or Disturbed, after the machines at fault were retired.
        """
        starts = zip(lease.machines, lease.starts, strict=True)
        outcomes = await asyncio.gather(
            *(self._prepare(machine, start) for machine, start in starts), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _prepare(self, machine: Machine, start: State) -> None:
        machine.policy = Policy()
        try:
            machine.rename_binding()
            if start is State.CONFIGURED and not machine.has_default_binding(await machine.drive_to(start)):
                await machine.drive_to(State.IDLE)
                machine.rename_binding()
            await machine.drive_to(start)
            machine.rename_binding()
        except Unprepared as error:
            before = self._failures[start].count if start in self._failures else 0
            self._failures[start] = Failures(count=before + 1, reason=error.message)
            self.quarantine(machine, error.message)
            raise
        except Disturbed:
            self._lost_in_a_row += machine.ownership.lost_race
            self.drop(machine)
            raise
        self._failures.pop(start, None)
        self._lost_in_a_row = 0

    async def exchange(self, lease: Lease, failed: Machine, start: State) -> Machine:
        """Retires a leased machine that rests in FAILED, and returns another one of the same lease, prepared.

        Raises Shortage if there is no other machine.
        """
        if failed in self._leased:
            self.quarantine(failed, f"{failed.id} is FAILED")
        other = self._spare(start)
        if other is None:
            raise Shortage(f"{failed.id} is FAILED, and there is no other machine for the rest of the behaviour")
        self._take(other, lives=True)
        self._started += not other.live
        self._leases[lease.number].append(other)
        await self.prepare(Lease(machines=(other,), starts=(start,)))
        return other

    def _spare(self, start: State) -> Machine | None:
        """Returns a free machine that can start in a state, although the preferred number may be alive."""
        live = [m for m in self._free if m.live]
        load, limit = self._load(len(live)), self._capacity.limit
        room = limit is None or load.alive + load.retired < limit
        stock = Stock(live=live, slots=self._slots(), deletable=[], room=room, reserved=(), slot_may_return=False)
        chosen = choose(stock, Needs(machines=1, start=start, creates=start is State.SPECULATIVE))
        return chosen[0] if chosen else None

    def quarantine(self, machine: Machine, reason: str) -> None:
        """Retires the machine. The final cleanup tries it once more, and reports it if it cannot be cleaned up."""
        del self._leased[machine]
        self._retired.append(machine)
        if not machine.failure_expected:
            self.quarantined[machine.id] = reason

    def drop(self, machine: Machine) -> None:
        """Retires the machine, which another client owns now. If it becomes a slot again, it is leased last."""
        del self._leased[machine]
        self._retired.append(machine)
        self._taken.add(machine.id)

    async def release(self, lease: Lease, *, wanted: Collection[State]) -> None:
        """Takes the machines back, ready for leases that start in a state of `wanted`; cleans them up if it is empty.

        Does nothing if the lease was released before: its machines may be leased to another behaviour by now.
        """
        if lease.number not in self._leases:
            return
        machines = self._leases.pop(lease.number)
        await asyncio.gather(*(self._restore(m, wanted) for m in machines if m in self._leased))

    async def _restore(self, machine: Machine, wanted: Collection[State]) -> None:
        machine.policy = Policy()
        try:
            if machine.touched:
                await self._rest_in_spite_of_lost_calls(machine, wanted)
            else:
                self._started -= self._leased[machine] and not machine.live
        except Unprepared as error:
            self.quarantine(machine, error.message)
        except Disturbed:
            self.drop(machine)
        except ConformanceError:
            # The target does not answer. The final cleanup decides what that means for this machine.
            self.quarantine(machine, "the target did not answer while the machine was being restored")
        if machine in self._leased:
            del self._leased[machine]
            self._free.append(machine)

    async def _rest_in_spite_of_lost_calls(self, machine: Machine, wanted: Collection[State]) -> None:
        """Drives the machine to rest; tries again if a call was not answered: the connection may only have been cut."""
        for pause in RETRY_DELAYS:
            try:
                return await self._rest(machine, wanted)
            except NoAnswer:
                await asyncio.sleep(pause)
        return await self._rest(machine, wanted)

    async def _rest(self, machine: Machine, wanted: Collection[State]) -> None:
        """Drives the machine to a stable state. Leaves it bound only with the binding that its next lease needs.

        Calls that were not answered are fenced off first: they could still arrive, and move the machine under the next
        behaviour. Their effect on the marks of their shards is unknown.
        """
        if machine.unanswered and machine.unanswered.doubt is Doubt.LOST:
            await machine.fence_off()
        result = await machine.settle()
        if (
            result.state is State.CONFIGURED
            and State.CONFIGURED in wanted
            and machine.has_default_binding(result.machine)
        ):
            return
        if result.state is not State.SPECULATIVE:
            await machine.drive_to(State.IDLE if wanted else self._home_state(machine))
        # A slot for which a Create may still be in flight is not cleaned up before that call is fenced off.
        if (not wanted or machine.state is State.SPECULATIVE) and not machine.unanswered:
            self._context.ledger.note_cleaned_up(machine.id)

    def _home_state(self, machine: Machine) -> State:
        return home_state(machine.home, deletes=self._context.deletes)

    def surplus(self, *, idle: int, bound: bool) -> list[Machine]:
        """The free machines that can be cleaned up now, except `idle` IDLE ones, and all bound ones if `bound`."""
        away = [m for m in self._free if m.id in self._context.ledger.open and m.state is not State.SPECULATIVE]
        # A machine with unanswered calls stays open in the ledger until the final cleanup fences them off. If it is in
        # its original state, nothing can be done before that, and it would be returned again and again.
        away = [m for m in away if m.state is not self._home_state(m) or not m.unanswered]
        tied = [m for m in away if m.state is State.CONFIGURED]
        return [m for m in away if m.state is not State.CONFIGURED][idle:] + ([] if bound else tied)

    def return_surplus(self, surplus: Sequence[Machine]) -> Coroutine[Any, Any, None]:
        """Takes free machines at once, so that no behaviour leases them; returns the coroutine that cleans them up."""
        for machine in surplus:
            self._take(machine, lives=True)
        return self.release(self._new_lease(surplus, ()), wanted=())

    async def refresh(self, make: Callable[[str], Machine]) -> None:
        """Adds slots that other clients have given back."""
        call = await retry_while_overloaded(lambda: self._context.client.list([State.SPECULATIVE]), insists=True)
        if not call.answered_ok:
            raise TargetError(f"List answered {call.outcome()}")
        held = {m.id for m in self._free} | {m.id for m in self._leased} | self.quarantined.keys()
        hide = self._context.ledger.hide
        usable = [
            m.id for m in call.response.machines if m.id and hide(m.id) == m.id and not create_fails_by_label(m.labels)
        ]
        fresh = [make(machine_id) for machine_id in usable if machine_id not in held]
        self._known += fresh
        self._free += fresh

    def add_unleased(self, machine: Machine) -> None:
        """Adds a machine that is never leased, or that must not exist: the final cleanup looks at it."""
        self._known.append(machine)

    async def clean_up(self, *, keep: bool = False) -> Home:
        """Cleans up every machine that was touched, whatever its state. Returns those that remain."""
        await self._context.client.wait_until_idle()
        absence = Absence(self._context.client)
        left = await asyncio.gather(
            *(
                self._clean_up_machine(m, absence, keep=keep)
                for m in self._known
                if m.touched and not _has_other_owner(m)
            )
        )
        names = {name for name, _ in filter(None, left)}
        failed = {} if keep else await failures(machine for machine in self._known if machine.id in names)
        for machine_id in failed:
            self._context.ledger.note_lost(machine_id)
        suspects = self._suspects()
        taken = await asyncio.gather(*(self._check_absent(machine_id, host) for machine_id, host in suspects.items()))
        return Home(
            # Two behaviours may have used the same unknown id: report it once.
            left=tuple((name, why) for name, why in _by_name(left) if name in self._context.ledger.open),
            taken=_by_name(taken),
            failed=_by_name([*failed.items()]),
            kept=keep,
        )

    def _suspects(self) -> dict[str, str]:
        """Returns the machines that the kit may have started and must not touch.

        If there is a host, the machine is the kit's only with that host: a machine that was seen as a slot may show
        later that it was not deleted.
        """
        others = {other for m in self._known for other in m.record.calls.other_machines} - self.touched
        returned = {
            m.id: m.record.seen.returned_host
            for m in self._known
            if m.record.seen.returned_host and not (_has_other_owner(m) or m.live)
        }
        possibly_ours = {m.id: "" for m in self._known if m.ownership.possibly_ours and _has_other_owner(m)}
        return dict.fromkeys(others, "") | returned | possibly_ours

    async def _check_absent(self, machine_id: str, host: str) -> tuple[str, str] | None:
        """Returns what a suspect shows, or None if it is a slot or does not exist.

        With a `host`, reports that host only.
        """
        for _ in range(2):  # a provider whose reads flicker gives no reliable state
            call = await retry_while_overloaded(lambda: self._context.client.get(machine_id), insists=True)
            if call.code in NO_SUCH_MACHINE_CODES and machine_id not in self.touched:
                return None
            slot = call.answered_ok and state_of(call.response.state) is State.SPECULATIVE
            if host and not (call.answered_ok and call.response.host.ref == host):
                continue
            if not slot or is_other_machine(call.response, machine_id):
                return machine_id, f"Get answers {call.outcome()}"
        return None

    async def _clean_up_machine(self, machine: Machine, absence: Absence, *, keep: bool) -> tuple[str, str] | None:
        """Cleans one machine up. Returns None, or its id and the reason if that failed."""
        if machine.id not in self._context.ledger.open:
            return None
        try:
            with suppress(Disturbed):
                return await self._return_machine(machine, absence, keep=keep)
            # Clean up the kit's own machine even if another client seems to have bound it. Disturbed is raised once.
            return None if _has_other_owner(machine) else await self._return_machine(machine, absence, keep=keep)
        except ConformanceError as error:
            return machine.id, error.message
        except Exception as error:
            # Even after a bug in the kit, the other machines must be cleaned up, and this one reported.
            return machine.id, f"the kit itself failed: {type(error).__name__}: {error}"

    async def _return_machine(self, machine: Machine, absence: Absence, *, keep: bool) -> tuple[str, str] | None:
        machine.policy = Policy(insists=True)
        if machine.home is State.UNSPECIFIED and await absence.is_certain(machine):
            self._context.ledger.note_cleaned_up(machine.id)
            return None
        if machine.unanswered:
            try:
                await machine.fence_off()
            except NoAnswer:
                # If the provider refused each call, and refuses a Drain in the same way, then nothing can have started.
                if machine.unanswered.doubt is not Doubt.REFUSED:
                    raise
        state = (await machine.settle()).state
        if keep:
            return (machine.id, f"kept, {state.name}") if state is not self._home_state(machine) else None
        home = State.SPECULATIVE if state is State.SPECULATIVE else self._home_state(machine)
        await machine.drive_to(home, allow_tokenless=True)
        self._context.ledger.note_cleaned_up(machine.id)
        return None


def _has_other_owner(machine: Machine) -> bool:
    return machine.ownership.owner is Owner.OTHER_CLIENT


def home_state(found: State, *, deletes: bool) -> State:
    """Returns the final state of a machine that was `found` in a state; UNSPECIFIED if it did not exist."""
    if not deletes:
        return State.IDLE
    return State.SPECULATIVE if found is State.UNSPECIFIED else found


def _by_name(reports: Sequence[tuple[str, str] | None]) -> tuple[tuple[str, str], ...]:
    """Returns machines and their reports, each machine once, sorted by id."""
    return tuple(sorted(dict(report for report in reports if report is not None).items()))
