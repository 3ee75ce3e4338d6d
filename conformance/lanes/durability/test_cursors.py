"""DUR-5: cursors of before a kill."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.lifecycle import State, Verb
from conformance.lanes.durability.kills import AT_REST, kill
from conformance.rpc.call import cut
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Collection

    from conformance.testkit.trial import Trial

PAUSE_S: Final = 0.05
"""The pause before another look at a delta, which may lag (LST-10)."""


@behaviour("DUR-5a", machines=2, start=State.IDLE, transitions=2, restarts=True)
async def test_an_old_cursor_shows_all_that_has_changed_before_the_kill(trial: Trial) -> None:
    one, other = trial.machines
    first = await cursor(trial)
    await trial.bind(one, cluster=trial.unique("c"))
    second = await cursor(trial)
    await trial.bind(other, cluster=trial.unique("c"))
    for _ in range(2):
        await kill(trial)
        await shows(trial, trial.found.revision, {one.id, other.id}, "the first cursor of the run")
        await shows(trial, first, {one.id, other.id}, "a cursor of before both changes")
        await shows(trial, second, {other.id}, "a cursor of before the last change")


@behaviour("DUR-5b", machines=2, start=State.IDLE, transitions=4, restarts=True)
async def test_an_old_cursor_shows_all_that_has_changed_since_the_kill(trial: Trial) -> None:
    one, other = trial.machines
    await trial.bind(one, cluster=trial.unique("c"))
    old = await cursor(trial)
    await kill(trial)
    await trial.bind(other, cluster=trial.unique("c"))
    await shows(trial, old, {other.id}, "a cursor of before the kill")
    between = await cursor(trial)
    for verb in (Verb.DRAIN, Verb.CONFIGURE, Verb.DRAIN):
        await trial.drive(one, verb)
        await shows(trial, old, {one.id, other.id}, "a cursor of before the kill")
    await kill(trial)
    await shows(trial, old, {one.id, other.id}, "a cursor of before two kills")
    await shows(trial, between, {one.id}, "a cursor of between two kills")


async def cursor(trial: Trial) -> bytes:
    """Returns the revision of now."""
    return (await trial.list(since=trial.found.since)).revision


async def shows(trial: Trial, since: bytes, changed: Collection[str], what: str) -> None:
    """Expects the List since a cursor to hold all changed machines; the full list does too."""
    end = trial.client.now() + trial.window
    while True:
        listing = await trial.list(since=since)
        missing = sorted(set(changed) - {each.id for each in listing.machines})
        if not missing or trial.client.now() >= end:
            break
        await asyncio.sleep(PAUSE_S)
    expect.fact(
        not missing,
        wanted=f"the delta since {what} to hold {', '.join(sorted(changed))} after {AT_REST}, or the full list",
        got=f"{len(listing.machines)} machines without {', '.join(cut(each) for each in missing)}",
    )
