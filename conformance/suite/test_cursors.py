"""LST: cursors that the provider cannot have given (contract §7).

A caller that comes with one has lost its place: it needs everything. An error, or an empty delta, blinds it.
What looks like an older cursor may be one, so a cut or lengthened one is only asked not to be an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from conformance.core.errors import Unsupported
from conformance.core.lifecycle import State
from conformance.suite._list import cursor, ids
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

AHEAD: Final = 10**12
"""How far a future cursor is ahead: also of a clock in nanoseconds, by a quarter of an hour."""


ORDERS: Final[tuple[Literal["big", "little"], ...]] = ("big", "little")


def shown(revision: bytes) -> str:
    """A cursor for people."""
    text = repr(revision) if revision.isascii() else revision.hex()
    return text if len(text) <= 48 else f"{text[:40]}… ({len(revision)} bytes)"


async def full(trial: Trial, revisions: Sequence[bytes], *, what: str, only: Sequence[State] = ()) -> None:
    """List with each of these cursors holds all that was there both before and after, in the states `only` if any."""
    states = only or trial.found.states_to_list(State.IDLE)
    before = set(ids(await expect.acked(trial.client.list(states))))
    calls: list[Call] = []
    for revision in revisions:
        calls.append(await expect.acked(trial.client.list(states, since=revision)))
    there = before & set(ids(await expect.acked(trial.client.list(states)))) | {m.id for m in trial.machines}
    for revision, call in zip(revisions, calls, strict=True):
        missing = there - set(ids(call))
        wanted = f"the full list for {what} {shown(revision)}"
        expect.fact(not missing, wanted=wanted, got=f"{len(ids(call))} machines, {len(missing)} missing", calls=[call])


@behaviour("LST-8a", machines=1)
async def test_garbage_is_answered_with_the_full_list(trial: Trial) -> None:
    await cursor(trial)
    random = bytes([0xFF]) + trial.random.randbytes(1023)
    garbage = [b"not-a-cursor-of-anybody", b"\xff" * 8, random, "кур\0сор, который не".encode(), b"\xff" * 9]
    await full(trial, garbage, what="a cursor of garbage")
    await full(trial, garbage[:2], what="a filter and a cursor of garbage", only=[State.IDLE])


@behaviour("LST-8b", machines=1)
async def test_a_cursor_of_the_future_is_answered_with_the_full_list(trial: Trial) -> None:
    now = await cursor(trial)
    futures = futures_of(now)
    if not futures:
        raise Unsupported(f"cursors do not look like numbers: {shown(now)}")
    await full(trial, futures, what="a cursor of the future")


def futures_of(revision: bytes) -> list[bytes]:
    """Cursors that count on from this one, where it looks like a count: decimal text or eight bytes."""
    if revision.isdigit():
        count = int(revision)
        return [str(ahead).encode() for ahead in (count + AHEAD, 2 * count + AHEAD, 2**63 - 1, 10**30 + count)]
    if len(revision) == 8:
        found = []
        for order in ORDERS:
            count = int.from_bytes(revision, order)
            if count + AHEAD < 2**63:
                found.append((count + AHEAD).to_bytes(8, order))
        return found
    return []


@behaviour("LST-8c", machines=1)
async def test_a_mangled_cursor_is_no_error(trial: Trial) -> None:
    now = await cursor(trial)
    mangled = (
        now[:-1] or b"\x01", now[1:] or b"\x01", now + b"\0", b"\0" + now, now + now, now[::-1],
        b" " + now + b"\n", b"-" + now, b"\0", b"0", b"-1", b"1e9", b"{}", b"\xff", b"\x80" * 11,
    )  # fmt: skip
    for revision in mangled:
        await expect.acked(trial.client.list(since=revision, cap=2))
    # Whoever then comes without a cursor still sees everything.
    await full(trial, [b""], what="the empty cursor")
