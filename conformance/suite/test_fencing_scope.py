"""FEN-13 and FEN-14: the scope of a mark, and calls without a token (contract §5).

These are the only behaviours in which one shard calls several machines. Their calls start nothing.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from conformance.core.fencing import Token
from conformance.core.lifecycle import State, Verb
from conformance.results.target_info import SHARD, SHARD_MACHINE
from conformance.suite._fencing import inert_verbs, supported_verbs
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial


class ScopeCheck:
    """Compares the scopes that the answers show with one another; the first one that differs is a violation."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._scope, self._origin = (
            (trial.fence_scope, "required by --fence-scope")
            if trial.fence_scope
            else (trial.found.fence_scope, "found by the first probe")
        )

    async def compare(self, first: Machine, second: Machine, verbs: tuple[Verb, Verb]) -> None:
        """Finds out whether a token that is older than the mark on one machine passes on the other."""
        shard = self._trial.new_shard()
        here, there = verbs
        set_mark = await expect.accepted(first.call(here, shard.token(epoch=1, sequence=12)))
        lower = await second.call(there, shard.token(epoch=1, sequence=11))
        self._record(set_mark, lower)
        # With either scope, the newest token passes, and a token that is not newer on the same machine is fenced.
        await expect.accepted(second.call(there, shard.token(epoch=1, sequence=13)))
        await expect.fenced(first.call(here, shard.token(epoch=1, sequence=12)))

    async def compare_with_others(self, first: Machine, others: Iterable[Machine]) -> None:
        """Finds out whether a token that is older than the mark on one machine passes on each of the others."""
        shard = self._trial.new_shard()
        set_mark = await expect.accepted(first.drain(shard.token(epoch=1, sequence=12)))
        for other in others:
            self._record(set_mark, await other.drain(shard.token(epoch=1, sequence=11)))

    def _record(self, set_mark: Call, lower: Call) -> None:
        if lower.token_spent:
            return  # fenced when retried: by the mark of the other machine, or of its own first attempt
        scope = SHARD if lower.fenced else SHARD_MACHINE
        where = f"{set_mark.rpc} of {set_mark.machine_id} and then {lower.rpc} of {lower.machine_id}"
        if self._scope is None:
            self._scope, self._origin = scope, f"as for {where}"
        expect.fact(
            scope == self._scope,
            wanted=f"one mark per {self._scope} everywhere, {self._origin}",
            got=f"one mark per {scope} for {where}",
            calls=[set_mark, lower],
        )

    async def compare_all(self, machines: Iterable[Machine], verbs: Iterable[tuple[Verb, Verb]]) -> None:
        """Compares every ordered pair of machines, with each pair of verbs."""
        pairs = tuple(verbs)
        for first, second in permutations(machines, 2):
            for pair in pairs:
                await self.compare(first, second, pair)


@behaviour("FEN-13a", machines=3, start=State.IDLE)
async def test_the_scope_is_the_same_on_every_idle_machine(trial: Trial) -> None:
    inert = inert_verbs(trial, State.IDLE)
    await ScopeCheck(trial).compare_all(trial.machines, [(v, w) for v in inert for w in inert])


@behaviour("FEN-13b", machines=2, start=State.CONFIGURED, transitions=1)
async def test_the_scope_is_the_same_on_configured_machines(trial: Trial) -> None:
    check, inert = ScopeCheck(trial), inert_verbs(trial, State.CONFIGURED)
    await check.compare_all(trial.machines, [(v, w) for v in inert for w in inert])
    bound, idle = trial.machines
    await trial.drive(idle, Verb.DRAIN)
    for verb in inert:
        for other in inert_verbs(trial, State.IDLE):
            await check.compare(bound, idle, (verb, other))
            await check.compare(idle, bound, (other, verb))


@behaviour("FEN-13c")
async def test_the_scope_is_the_same_for_machines_that_do_not_exist(trial: Trial) -> None:
    unknown, check = [trial.stranger() for _ in range(12)], ScopeCheck(trial)
    for number, machine in enumerate(unknown[:-1]):
        await check.compare_with_others(machine, unknown[number + 1 :])
    verbs = supported_verbs(trial)
    for number, pair in enumerate((first, second) for first in verbs for second in verbs):
        await check.compare(unknown[number % 12], unknown[(number + 1) % 12], pair)


# FEN-14: calls without a token.


@behaviour("FEN-14a", machines=1, start=State.IDLE)
async def test_a_call_without_a_token_passes(trial: Trial) -> None:
    for verb in inert_verbs(trial, State.IDLE):
        with_token = await expect.accepted(trial.machine.call(verb))
        for _ in range(2):
            await expect.code(trial.machine.call(verb, Token("", 0, 0)), with_token.status)
