"""FEN: the fence stands before everything else (contract §5).

Create on an IDLE machine is a retry, and Drain of one has no edge: both cost no transition, so a token can be
tried as often as one likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance import expect
from conformance.behaviour import behaviour
from conformance.lifecycle import State

if TYPE_CHECKING:
    from conformance.trial import Trial


@behaviour("FEN-1a", machines=1, start=State.IDLE)
async def test_an_equal_token_is_fenced(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=5)))
    await expect.fenced(machine.create(shard.token(epoch=5, sequence=5)))
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: only newer


@behaviour("FEN-3a", machines=1, start=State.IDLE)
async def test_an_older_epoch_is_fenced_whatever_its_sequence(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    await expect.accepted(machine.create(shard.token(epoch=2, sequence=1)))
    await expect.fenced(machine.create(shard.token(epoch=1, sequence=99)))
    await expect.accepted(
        machine.create(shard.token(epoch=2, sequence=2))
    )  # control: only the epoch differed
