"""The machines of a run: leased all or none, restored warm, quarantined where they are stuck, brought home.

Machines cost. A slot that is SPECULATIVE is free and costs nothing to hold; a machine that lives is leased
again and again, and no more live at once than `most`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.busy import while_busy
from conformance.errors import ConformanceError, Disturbed, TargetError, Unprepared
from conformance.lifecycle import State, doomed, state_of
from conformance.report import Home
from conformance.yard import mistaken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from conformance.machine import Machine
    from conformance.needs import Needs
    from conformance.yard import Yard

NOBODY = (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT)
"""How Get says that there is no such machine; the second is for an empty id (COD-4)."""

ENOUGH = 0.75
"""This share of the machines that should live is enough, later in a run, to do without another Create."""
HOPELESS = 3
"""So many machines in a row that could not be prepared, and no more are tried: each costs money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Machines for one behaviour, and the states in which it wants them."""

    machines: tuple[Machine, ...]
    starts: tuple[State, ...]


class Pool:
    """Knows of each machine whether it is free, leased, or out of the game."""

    def __init__(self, machines: Sequence[Machine], yard: Yard, *, most: int, limit: int | None = None) -> None:
        """`most` is how many it likes to have alive; `limit`, how many may be, those out of the game included."""
        self._yard = yard
        self._known = list(machines)
        self._free = list(machines)
        self._leased: dict[Machine, bool] = {}
        """Whether each lives or will through us, and so counts against `most`: what was found IDLE costs no more."""
        self._lost: set[str] = set()
        self._most, self._limit = most, limit
        self._out: list[Machine] = []
        """Machines that are never leased again. They may live all the same."""
        self._beaten = 0
        """How many lives in a row were somebody else's at once."""
        self._lives = 0
        """How many lives of machines were begun for leases, not counting what bodies do meanwhile."""
        self._failures: dict[State, int] = {}
        self._reason: dict[State, str] = {}
        self.quarantined: dict[str, str] = {}

    @property
    def lost(self) -> bool:
        """Whether somebody else was faster at a slot."""
        return any(machine.beaten for machine in self._known)

    @property
    def touched(self) -> frozenset[str]:
        """The ids of the machines that were ever driven."""
        return frozenset(machine.id for machine in self._known if machine.touched)

    def hopeless(self, needs: Needs) -> str | None:
        """Why no machine can be had as `needs` says, now or later in this run; None where it may be."""
        for start in needs.starts:
            if self._failures.get(start, 0) >= HOPELESS:
                return f"no machine comes to {start.name}: {self._reason[start]}"
        beaten = self._beaten > max(2 * HOPELESS, self._most)
        if not beaten and self._limit is None:
            return None
        lives = sum(needs.creates or start is not State.SPECULATIVE for start in needs.starts)
        if lives and beaten:
            return (
                f"{self._beaten} machines in a row were claimed by somebody else, or have operation ids of old (OPS-3)"
            )
        if lives and self._limit is not None and lives + (strays := self._strays) > self._limit:
            return f"--max-machines {self._limit}: {strays} that could not be brought back live on, or may"
        return None

    def lease(
        self, needs: Needs, *, apart: Collection[State] = (), give_back: bool = True, start: bool = True
    ) -> Lease | None:
        """Machines for `needs`, or None where they cannot be had now. Takes all or none, and sends nothing.

        As long as any are out, machines in a state of `apart` are left to those that want just this one. Without
        `give_back`, no machine is deleted so that there is a slot; without `start`, none is created.
        """
        ours = [m for m in self._free if m.live]
        slots = self._slots()
        room = self._room(needs) if start else 0
        if needs.deletes:
            # What was found IDLE is not ours to delete, unless there is nothing else.
            ours.sort(key=lambda m: m.home is not State.SPECULATIVE)
        deletable = self._deletable(ours) if give_back else []
        apart = apart if self._leased else ()
        chosen: list[Machine] = []
        for state in needs.starts:
            if state is not State.SPECULATIVE:
                choice = [m for m in ours if m.state is state] + [m for m in ours if m.state not in {state, *apart}]
                choice += slots[:room] if state is State.IDLE or State.IDLE not in apart else []
            elif not needs.creates:
                # Nothing says whose a slot is. One that was ours is best; where one may come back, it is waited for.
                choice = [
                    m for m in slots if m.held or not (any(self._leased.values()) and self._yard.deletes)
                ] + deletable
            else:
                # A slot that will come to life takes the place of a machine that is given back for it.
                choice = slots[:room] + deletable
            one = next((m for m in choice if m not in chosen), None)
            if one is None:
                return None
            chosen.append(one)
        for machine, state in zip(chosen, needs.starts, strict=True):
            self._free.remove(machine)
            lives = machine.live or needs.creates or state is not State.SPECULATIVE
            self._leased[machine] = lives and machine.home is State.SPECULATIVE
            self._lives += self._leased[machine] and not machine.live
        return Lease(machines=tuple(chosen), starts=needs.starts)

    def has_slots(self, needs: Needs) -> bool:
        """Whether enough slots are free, though it may be better to wait for others."""
        return len(self._slots()) >= needs.machines

    def _slots(self) -> list[Machine]:
        """The free slots: those that were ours before, then those that nobody was seen with, then the others."""
        slots = [m for m in self._free if not m.live and m.home is State.SPECULATIVE]
        return sorted(slots, key=lambda m: (not m.held, m.id in self._lost))

    def _deletable(self, ours: list[Machine]) -> list[Machine]:
        return [m for m in ours if m.home is State.SPECULATIVE] if self._yard.deletes else []

    @property
    def _strays(self) -> int:
        """How many machines are out of the game and live through us, or may."""
        return sum(m.costs and m.home is State.SPECULATIVE for m in self._out)

    def _room(self, needs: Needs) -> int:
        """How many machines more may be started for `needs`."""
        lively = sum(self._leased.values())
        alive = lively + sum(m.live and m.home is State.SPECULATIVE for m in self._free)
        if self._limit is not None:
            return min(self._wish(needs, lively, alive), max(0, self._limit - alive - self._strays))
        return self._wish(needs, lively, alive)

    def _wish(self, needs: Needs, lively: int, alive: int) -> int:
        if not needs.transitions and lively:
            # Soon over: it waits for a machine that lives rather than have one more started.
            return 0
        if State.SPECULATIVE not in needs.starts and alive > ENOUGH * self._most and lively:
            # A machine that was deleted is not replaced as long as there are nearly as many as there should be, and
            # one of them may still come free.
            return max(0, self._most - self._lives)
        return max(0, self._most - alive)

    async def prepare(self, lease: Lease) -> None:
        """Bring each leased machine to where the lease starts.

        Raises Unprepared or Disturbed after it has taken the machines at fault out of the game.
        """
        ways = zip(lease.machines, lease.starts, strict=True)
        fates = await asyncio.gather(
            *(self._prepare(machine, start) for machine, start in ways), return_exceptions=True
        )
        for fate in fates:
            if isinstance(fate, BaseException):
                raise fate

    async def _prepare(self, machine: Machine, start: State) -> None:
        try:
            machine.rename_binding()
            if start is State.CONFIGURED and not machine.binds(await machine.bring(start)):
                await machine.bring(State.IDLE)
                machine.rename_binding()
            await machine.bring(start)
            machine.rename_binding()
        except Unprepared as error:
            self._failures[start] = self._failures.get(start, 0) + 1
            self._reason[start] = error.message
            self.quarantine(machine, error.message)
            raise
        except Disturbed:
            self._beaten += machine.beaten
            self.drop(machine)
            raise
        self._failures[start] = 0
        self._beaten = 0

    def quarantine(self, machine: Machine, reason: str) -> None:
        """Never lease the machine again; at the end it is tried once more, and named where it is not home."""
        del self._leased[machine]
        self._out.append(machine)
        self.quarantined[machine.id] = reason

    def drop(self, machine: Machine) -> None:
        """The machine is somebody else's now. Where it comes back as a slot, it is as new, but for the last to take."""
        del self._leased[machine]
        self._out.append(machine)
        self._lost.add(machine.id)

    async def release(self, lease: Lease, *, wanted: Collection[State]) -> None:
        """Take the machines back: warm for leases that start where `wanted` says; home at once where none do."""
        await asyncio.gather(*(self._restore(m, wanted) for m in lease.machines if m in self._leased))

    async def _restore(self, machine: Machine, wanted: Collection[State]) -> None:
        try:
            if machine.touched:
                await self._rest(machine, wanted)
            else:
                self._lives -= self._leased[machine] and not machine.live
        except Unprepared as error:
            self.quarantine(machine, error.message)
        except Disturbed:
            self.drop(machine)
        except ConformanceError:
            # The target does not answer; homecoming will say what that means for this machine.
            self.quarantine(machine, "the target did not answer when it was to be brought back")
        if machine in self._leased:
            del self._leased[machine]
            self._free.append(machine)

    async def _rest(self, machine: Machine, wanted: Collection[State]) -> None:
        """Leave the machine stable, and bound only as its next lease would bind it."""
        watch = await machine.settle()
        if watch.state is State.CONFIGURED and State.CONFIGURED in wanted and machine.binds(watch.machine):
            return
        if watch.state is not State.SPECULATIVE:
            await machine.bring(State.IDLE if wanted else self._home_of(machine))
        # A slot to which a Create may still be on its way is not home before that is fenced off.
        if (not wanted or machine.state is State.SPECULATIVE) and not machine.unheard:
            self._yard.ledger.home(machine.id)

    def _home_of(self, machine: Machine) -> State:
        return home_of(machine.home, deletes=self._yard.deletes)

    def spare(self, *, idle: int, bound: bool) -> list[Machine]:
        """The free machines that are not at home, but for `idle` IDLE ones, and for all bound ones where `bound`."""
        away = [m for m in self._free if m.id in self._yard.ledger.open and m.state is not State.SPECULATIVE]
        tied = [m for m in away if m.state is State.CONFIGURED]
        return [m for m in away if m.state is not State.CONFIGURED][idle:] + ([] if bound else tied)

    async def retire(self, spare: Sequence[Machine]) -> None:
        """Bring home free machines that are away. They are taken before this first waits for anything."""
        for machine in spare:
            self._free.remove(machine)
            self._leased[machine] = machine.home is State.SPECULATIVE
        await self.release(Lease(machines=tuple(spare), starts=()), wanted=())

    async def refresh(self, make: Callable[[str], Machine]) -> None:
        """Look again for slots that somebody else has given back."""
        call = await while_busy(lambda: self._yard.client.list([State.SPECULATIVE]), insists=True)
        if not call.ok:
            raise TargetError(f"List answered {call.outcome()}")
        held = {m.id for m in self._free} | {m.id for m in self._leased} | self.quarantined.keys()
        hide = self._yard.ledger.hide
        usable = [m.id for m in call.response.machines if m.id and hide(m.id) == m.id and not doomed(m.labels)]
        fresh = [make(machine_id) for machine_id in usable if machine_id not in held]
        self._known += fresh
        self._free += fresh

    def stranger(self, machine: Machine) -> None:
        """Answer for a machine that should not exist: at the end it must not have come into being."""
        self._known.append(machine)

    async def home(self, *, keep: bool = False) -> Home:
        """Bring home everything that was touched, whatever happened to it; names what will not come."""
        await self._yard.client.quiet()
        fates = await asyncio.gather(
            *(self._homecoming(m, keep=keep) for m in self._known if m.touched and not m.disowned)
        )
        # What was a slot at one look may show at another that it was not given back.
        back = {m.id: m.last_host for m in self._known if m.last_host and not (m.disowned or m.live)}
        lost = dict.fromkeys({other for m in self._known for other in m.others} - self.touched, "")
        lost |= back | {m.id: "" for m in self._known if m.taken and m.disowned}
        taken = await asyncio.gather(*(self._look_after(machine_id, host) for machine_id, host in lost.items()))
        return Home(
            # Two behaviours may have asked for the same machine that there is not: one answer is enough.
            left=tuple((name, why) for name, why in _by_name(fates) if name in self._yard.ledger.open),
            taken=_by_name(taken),
            kept=keep,
        )

    async def _look_after(self, machine_id: str, host: str) -> tuple[str, str] | None:
        """What a machine shows that may be there through us and is not for us to touch; None where nobody has it.

        With a `host` that was ours, it is told of that one only.
        """
        for _ in range(2):  # who shows another state at each look is nowhere
            call = await while_busy(lambda: self._yard.client.get(machine_id), insists=True)
            if call.code in NOBODY and machine_id not in self.touched:
                return None
            slot = call.ok and state_of(call.response.state) is State.SPECULATIVE
            if host and not (call.ok and call.response.host.ref == host):
                continue
            if not slot or mistaken(call.response, machine_id):
                return machine_id, f"Get answers {call.outcome()}"
        return None

    async def _homecoming(self, machine: Machine, *, keep: bool) -> tuple[str, str] | None:
        if machine.id not in self._yard.ledger.open:
            return None
        try:
            with suppress(Disturbed):
                return await self._bring_home(machine, keep=keep)
            # What is ours goes home, whoever seems to have bound it: that is said once.
            return None if machine.disowned else await self._bring_home(machine, keep=keep)
        except ConformanceError as error:
            return machine.id, error.message
        except Exception as error:
            # Whatever is wrong with us, the others are to come home, and this one is to be named.
            return machine.id, f"the kit itself failed: {type(error).__name__}: {error}"

    async def _bring_home(self, machine: Machine, *, keep: bool) -> tuple[str, str] | None:
        machine.insists = True
        if machine.home is State.UNSPECIFIED and (await while_busy(machine.get, insists=True)).code in NOBODY:
            self._yard.ledger.home(machine.id)
            return None
        if machine.unheard:
            await machine.fence_off()
        state = (await machine.settle()).state
        if keep:
            return (machine.id, f"kept, {state.name}") if state is not self._home_of(machine) else None
        home = State.SPECULATIVE if state is State.SPECULATIVE else self._home_of(machine)
        await machine.bring(home, at_all_costs=True)
        self._yard.ledger.home(machine.id)
        return None


def home_of(found: State, *, deletes: bool) -> State:
    """Where a machine is at home that was found in a state; what was not there at all is to be as good as not there."""
    if not deletes:
        return State.IDLE
    return State.SPECULATIVE if found is State.UNSPECIFIED else found


def _by_name(fates: Sequence[tuple[str, str] | None]) -> tuple[tuple[str, str], ...]:
    """What is to be told of machines, each once, in the order of their names."""
    return tuple(sorted(dict(fate for fate in fates if fate is not None).items()))
