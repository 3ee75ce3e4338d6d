"""FEN-13 and FEN-14: the scope of a mark, and calls without a token (contract §5).

One shard calls several machines here, also with tokens that do not rise: no other behaviour depends on the scope. The
calls start nothing.
"""

from __future__ import annotations

from itertools import cycle, islice, permutations, product
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core.errors import NotObserved
from conformance.core.fencing import Token
from conformance.core.lifecycle import State, Verb
from conformance.results.target_info import SHARD, SHARD_MACHINE
from conformance.suite._fencing import inert_verbs, shard_with_mark, supported_verbs
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial


def scope_shown(set_mark: Call, lower: Call) -> str | None:
    """Returns the scope that two calls of one shard show; None if they show neither.

    `set_mark` is answered and not fenced, for one machine. `lower` is answered, for another one, with an older token.
    """
    if set_mark.busy and not set_mark.token_spent:
        return None  # rejected for load, perhaps before it set the mark
    if lower.fenced:
        return SHARD
    # If it was rejected for load, the fence may not have seen it. If its token was spent when it was sent again, its
    # own first attempt has done that, or the mark of the other machine.
    return None if lower.busy or lower.token_spent else SHARD_MACHINE


def where_shown(set_mark: Call, lower: Call) -> str:
    """Returns the two calls that show a scope, as text."""
    return f"{set_mark.rpc} of {set_mark.machine_id} and then {lower.rpc} of {lower.machine_id}"


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
        lower = await expect.answered(second.call(there, shard.token(epoch=1, sequence=11)))
        self._judge(set_mark, lower)
        # With either scope, the newest token passes, and a token that is not newer on the same machine is fenced.
        await expect.accepted(second.call(there, shard.token(epoch=2, sequence=0)))
        await expect.fenced(first.call(here, shard.token(epoch=1, sequence=12)))

    async def compare_with_others(self, first: Machine, others: Iterable[Machine]) -> None:
        """Finds out whether a token that is older than the mark on one machine passes on each of the others."""
        shard = self._trial.new_shard()
        set_mark = await expect.accepted(first.drain(shard.token(epoch=1, sequence=12)))
        for other in others:
            self._judge(set_mark, await expect.answered(other.drain(shard.token(epoch=1, sequence=11))))

    def _judge(self, set_mark: Call, lower: Call) -> None:
        scope = scope_shown(set_mark, lower)
        if scope is None:
            return
        where = where_shown(set_mark, lower)
        if self._scope is None:
            self._scope, self._origin = scope, f"as for {where}"
        expect.fact(
            scope == self._scope,
            wanted=f"one mark per {self._scope} everywhere, {self._origin}",
            got=f"one mark per {scope} for {where}",
            calls=[set_mark, lower],
        )

    async def compare_all(self, machines: Iterable[Machine], verbs: Iterable[tuple[Verb, Verb]]) -> None:
        """Compares every ordered pair of machines, and with every pair of verbs; not each pair with each other."""
        await self.compare_each(permutations(machines, 2), verbs)

    async def compare_each(
        self, machines: Iterable[tuple[Machine, Machine]], verbs: Iterable[tuple[Verb, Verb]]
    ) -> None:
        """Compares each pair of machines at least once, and with each pair of verbs at least once."""
        machine_pairs, verb_pairs = tuple(machines), tuple(verbs)
        number = max(len(machine_pairs), len(verb_pairs))
        for (first, second), pair in islice(zip(cycle(machine_pairs), cycle(verb_pairs), strict=False), number):
            await self.compare(first, second, pair)


@behaviour("FEN-13a", machines=3, start=State.IDLE)
async def test_the_scope_is_the_same_on_every_idle_machine(trial: Trial) -> None:
    inert = inert_verbs(trial, State.IDLE)
    await ScopeCheck(trial).compare_all(trial.machines, product(inert, inert))


@behaviour("FEN-13b", machines=2, start=State.CONFIGURED, transitions=1)
async def test_the_scope_is_the_same_on_configured_machines(trial: Trial) -> None:
    check, inert = ScopeCheck(trial), inert_verbs(trial, State.CONFIGURED)
    await check.compare_all(trial.machines, product(inert, inert))
    bound, idle = trial.machines
    await trial.drive(idle, Verb.DRAIN)
    of_idle = inert_verbs(trial, State.IDLE)
    await check.compare_each([(bound, idle)], product(inert, of_idle))
    await check.compare_each([(idle, bound)], product(of_idle, inert))


@behaviour("FEN-13c")
async def test_the_scope_is_the_same_for_machines_that_do_not_exist(trial: Trial) -> None:
    unknown, check = [trial.stranger() for _ in range(12)], ScopeCheck(trial)
    for number, machine in enumerate(unknown[:-1]):
        await check.compare_with_others(machine, unknown[number + 1 :])
    verbs = supported_verbs(trial)
    for number, pair in enumerate((first, second) for first in verbs for second in verbs):
        await check.compare(unknown[number % 12], unknown[(number + 1) % 12], pair)


@behaviour("FEN-13e", machines=4, start=State.SPECULATIVE, bound=1)
async def test_the_scope_is_the_same_on_slots_and_configured_machines(trial: Trial) -> None:
    *slots, bound = trial.machines
    check = ScopeCheck(trial)
    of_slots, of_bound = inert_verbs(trial, State.SPECULATIVE), inert_verbs(trial, State.CONFIGURED)
    await check.compare_all(slots, product(of_slots, of_slots))
    await check.compare_each([(slot, bound) for slot in slots], product(of_slots, of_bound))
    await check.compare_each([(bound, slot) for slot in slots], product(of_bound, of_slots))


WHY_SHARD_MACHINE = (
    "one mark per shard and machine: a live shard sends calls for many machines at once, and one mark per shard fences "
    "those of them that arrive out of order (BigFleet's ADR-0058)"
)


@behaviour("FEN-13d", machines=2, start=State.IDLE)
async def test_the_scope_is_the_shard_and_the_machine(trial: Trial) -> None:
    scopes = set[str | None]()
    for verb in inert_verbs(trial, State.IDLE):
        for first, second in permutations(trial.machines, 2):
            shard = trial.new_shard()
            set_mark = await expect.accepted(first.call(verb, shard.token(epoch=1, sequence=12)))
            lower = await expect.answered(second.call(verb, shard.token(epoch=1, sequence=11)))
            scopes.add(scope_shown(set_mark, lower))
            expect.fact(
                SHARD not in scopes,
                wanted=WHY_SHARD_MACHINE,
                got=f"one mark per shard, for {where_shown(set_mark, lower)}",
                calls=[set_mark, lower],
            )
    if scopes == {None}:
        raise NotObserved("every call that could show the scope of the mark was rejected because of overload")


# FEN-14: calls without a token.


NO_TOKEN = Token("", 0, 0)
MAX_TOKENLESS_ROUNDS = 4
"""Rounds after which two codes that differ in each round are not random: a call without an edge may get any code."""


@behaviour("FEN-14a", machines=2, start=State.IDLE, bound=1)
async def test_a_call_without_a_token_passes(trial: Trial) -> None:
    for machine, state in zip(trial.machines, (State.IDLE, State.CONFIGURED), strict=True):
        for verb in inert_verbs(trial, state):
            await _check_token_not_demanded(machine, verb)


async def _check_token_not_demanded(machine: Machine, verb: Verb) -> None:
    """Checks that the call is answered in the same way without a token as with one."""
    with_token, without = set[StatusCode](), set[StatusCode]()
    for _ in range(MAX_TOKENLESS_ROUNDS):
        control = await expect.accepted(machine.call(verb))
        tokenless = await expect.answered(machine.call(verb, NO_TOKEN))
        with_token.add(control.status)
        without.add(tokenless.status)
        if with_token & without or len(with_token) > 1 or len(without) > 1:
            return
    expect.fact(
        False,
        wanted=f"{verb.value} without a token to be accepted unfenced, as other suites call it",
        got=tokenless.outcome(),
        calls=[control, tokenless],
    )


@behaviour("FEN-14b", machines=1, start=State.CONFIGURED)
async def test_a_call_without_a_token_is_not_fenced_and_moves_no_mark(trial: Trial) -> None:
    machine = trial.machine
    for verb in inert_verbs(trial, State.CONFIGURED):
        shard = await shard_with_mark(trial, State.CONFIGURED)
        for _ in range(2):  # the second one is not fenced by the first
            await expect.accepted(machine.call(verb, NO_TOKEN))
        await expect.fenced(machine.call(verb, shard.token(epoch=5, sequence=5)))
        await expect.accepted(machine.call(verb, shard.token(epoch=5, sequence=6)))
