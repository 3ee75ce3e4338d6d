"""FEN-13 and FEN-14: what one mark covers, and the call that has no token (contract §5).

The only behaviours in which one shard speaks to several machines. They ask with calls that start nothing.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from conformance.core.errors import NoAnswer
from conformance.core.fencing import Token
from conformance.core.lifecycle import State, Verb
from conformance.results.target_info import SHARD, SHARD_MACHINE
from conformance.suite._fencing import calm, offered
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial


class Scopes:
    """Collects what is found about the scope; the first answer that differs from an earlier one is a violation."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._said, self._by = (
            (trial.fence_scope, "demanded") if trial.fence_scope else (trial.found.fence_scope, "found")
        )

    async def ask(self, first: Machine, second: Machine, verbs: tuple[Verb, Verb]) -> None:
        """Look whether a token that is older than the mark on one machine passes on the other."""
        shard = self._trial.new_shard()
        here, there = verbs
        set_mark = await expect.accepted(first.call(here, shard.token(epoch=1, sequence=12)))
        lower = await second.call(there, shard.token(epoch=1, sequence=11))
        self._say(set_mark, lower)
        # Under either reading: the newest passes, and what is not newer on its own machine does not.
        await expect.accepted(second.call(there, shard.token(epoch=1, sequence=13)))
        await expect.fenced(first.call(here, shard.token(epoch=1, sequence=12)))

    async def spread(self, first: Machine, others: Iterable[Machine]) -> None:
        """Look whether a token that is older than the mark on one machine passes on the others."""
        shard = self._trial.new_shard()
        set_mark = await expect.accepted(first.drain(shard.token(epoch=1, sequence=12)))
        for other in others:
            self._say(set_mark, await other.drain(shard.token(epoch=1, sequence=11)))

    def _say(self, set_mark: Call, lower: Call) -> None:
        if not lower.answered:
            raise NoAnswer(f"{lower.rpc} was not answered: {lower.outcome()}")
        if lower.token_spent:
            return  # fenced in the end: by the mark of the other machine, or by its own
        scope = SHARD if lower.fenced else SHARD_MACHINE
        where = f"{set_mark.rpc} of {set_mark.machine_id} and then {lower.rpc} of {lower.machine_id}"
        if self._said is None:
            self._said, self._by = scope, f"for {where}"
        expect.fact(
            scope == self._said,
            wanted=f"one mark per {self._said} everywhere, as {self._by}",
            got=f"one per {scope} for {where}",
            calls=[set_mark, lower],
        )

    async def ask_all(self, machines: Iterable[Machine], verbs: Iterable[tuple[Verb, Verb]]) -> None:
        """Ask of every two machines."""
        wanted = tuple(verbs)
        for first, second in permutations(machines, 2):
            for pair in wanted:
                await self.ask(first, second, pair)


@behaviour("FEN-13a", machines=3, start=State.IDLE)
async def test_the_scope_is_the_same_on_every_idle_machine(trial: Trial) -> None:
    quiet = calm(trial, State.IDLE)
    await Scopes(trial).ask_all(trial.machines, [(v, w) for v in quiet for w in quiet])


@behaviour("FEN-13b", machines=2, start=State.CONFIGURED, transitions=1)
async def test_the_scope_is_the_same_on_configured_machines(trial: Trial) -> None:
    scopes, quiet = Scopes(trial), calm(trial, State.CONFIGURED)
    await scopes.ask_all(trial.machines, [(v, w) for v in quiet for w in quiet])
    bound, idle = trial.machines
    await trial.drive(idle, Verb.DRAIN)
    for verb in quiet:
        for other in calm(trial, State.IDLE):
            await scopes.ask(bound, idle, (verb, other))
            await scopes.ask(idle, bound, (other, verb))


@behaviour("FEN-13c")
async def test_the_scope_is_the_same_for_machines_that_do_not_exist(trial: Trial) -> None:
    strangers, scopes = [trial.stranger() for _ in range(12)], Scopes(trial)
    for number, stranger in enumerate(strangers[:-1]):
        await scopes.spread(stranger, strangers[number + 1 :])
    verbs = offered(trial)
    for number, pair in enumerate((first, second) for first in verbs for second in verbs):
        await scopes.ask(strangers[number % 12], strangers[(number + 1) % 12], pair)


# FEN-14: no token at all.


@behaviour("FEN-14a", machines=1, start=State.IDLE)
async def test_a_call_without_a_token_passes(trial: Trial) -> None:
    for verb in calm(trial, State.IDLE):
        with_token = await expect.accepted(trial.machine.call(verb))
        for _ in range(2):
            await expect.code(trial.machine.call(verb, Token("", 0, 0)), with_token.code)
