"""LST: cursors that the provider cannot have issued (contract §7).

A caller that sends one has lost its position and needs the full list: after an error or an empty delta it would miss
machines. A shortened or lengthened cursor may look like an older one, so it must only not be answered with an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.errors import Unsupported
from conformance.core.lifecycle import State
from conformance.suite._cursors import future_cursors, near_cursors
from conformance.suite._list import current_revision, ids_in
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import poll_until_deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.testkit.trial import Trial


def cursor_text(revision: bytes) -> str:
    """Returns a cursor as text for a report."""
    text = repr(revision) if revision.isascii() else revision.hex()
    return text if len(text) <= 48 else f"{text[:40]}… ({len(revision)} bytes)"


async def check_full_list(
    trial: Trial, revisions: Sequence[bytes], *, what: str, only: Sequence[State] = (), cap: int = 0
) -> None:
    """Checks that List with each cursor contains every machine that is in a List before and in one after.

    A List may lag (LST-10), so a machine counts as missing only if it stays so.
    """
    states = only or trial.found.states_to_list(State.IDLE)
    pending = list(revisions)
    async for last in poll_until_deadline(trial):
        before = set(ids_in(await expect.acked(trial.client.list(states))))
        calls = [await expect.acked(trial.client.list(states, since=revision, cap=cap)) for revision in pending]
        stable = before & set(ids_in(await expect.acked(trial.client.list(states)))) | {m.id for m in trial.machines}
        least = min(cap, len(stable)) if cap else 0
        short = [
            (revision, call)
            for revision, call in zip(pending, calls, strict=True)
            if (len(ids_in(call)) < least if cap else stable - set(ids_in(call)))
        ]
        if not short:
            return
        pending = [revision for revision, _ in short]
        wanted = f"the full list after {what} {cursor_text(pending[0])}"
        got = f"{len(ids_in(short[0][1]))} machines, although {len(stable)} match"
        expect.fact(not last, wanted=wanted, got=got, calls=[short[0][1]])


@behaviour("LST-8a", machines=1)
async def test_garbage_is_answered_with_the_full_list(trial: Trial) -> None:
    await current_revision(trial)
    random = bytes([0xFF]) + trial.random.randbytes(1023)
    garbage = [b"not-a-cursor-of-anybody", b"\xff" * 8, random, "кур\0сор, который не".encode(), b"\xff" * 9]
    await check_full_list(trial, garbage, what="the invalid cursor")
    await check_full_list(trial, garbage[:2], what="a filter and the invalid cursor", only=[State.IDLE])
    await check_full_list(
        trial, garbage[1:2], what="a filter, a cap of 1 and the invalid cursor", only=[State.IDLE], cap=1
    )


@behaviour("LST-8b", machines=1, alone=True)
async def test_a_cursor_of_the_future_is_answered_with_the_full_list(trial: Trial) -> None:
    current = await current_revision(trial)
    future = future_cursors(current, trial.found.revision)
    if not future:
        raise Unsupported(f"the provider's cursors do not look like numbers: {cursor_text(current)}")
    await check_full_list(trial, future, what="the future cursor")
    await check_full_list(trial, future[:1], what="a filter and the future cursor", only=[State.IDLE])
    await check_near_future(trial)


MAX_MOVES = 3
"""Maximum number of attempts to send a cursor of the near future before the fleet changes."""


async def check_near_future(trial: Trial) -> None:
    """Checks that the next cursors of a counter are answered with the full list, if the fleet does not change."""
    states, moved = trial.found.states_to_list(State.IDLE), 0
    async for last in poll_until_deadline(trial):
        before = await expect.acked(trial.client.list(states))
        revision = before.response.revision
        near = near_cursors(revision, trial.found.revision, transitions=trial.transitions)
        calls = [await expect.acked(trial.client.list(states, since=each)) for each in near]
        after = await expect.acked(trial.client.list(states))
        if after.response.revision != revision:  # the provider may have given the cursor in the meantime
            moved += 1
            if moved < MAX_MOVES:
                continue
            return
        stable = set(ids_in(before)) & set(ids_in(after))
        short = [(each, call) for each, call in zip(near, calls, strict=True) if stable - set(ids_in(call))]
        if not short:
            return
        wanted = f"the full list after {cursor_text(short[0][0])}, which follows the current cursor"
        got = f"{len(ids_in(short[0][1]))} machines instead of {len(stable)}"
        expect.fact(not last, wanted=wanted, got=got, calls=[before, short[0][1], after])


@behaviour("LST-8c", machines=1)
async def test_a_mangled_cursor_is_no_error(trial: Trial) -> None:
    current = await current_revision(trial)
    mangled = (
        current[:-1] or b"\x01", current[1:] or b"\x01", current + b"\0", b"\0" + current, current + current,
        current[::-1], b" " + current + b"\n", b"-" + current, b"\0", b"0", b"-1", b"1e9", b"{}", b"\xff", b"\x80" * 11,
    )  # fmt: skip
    for revision in mangled:
        await expect.acked(trial.client.list(since=revision, cap=2))
    # A caller without a cursor still gets the full list afterwards.
    await check_full_list(trial, [b""], what="the empty cursor")
