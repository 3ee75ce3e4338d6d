"""LST: cursors that the provider cannot have issued (contract §7).

A caller that sends one has lost its position and needs the full list: after an error or an empty delta it would miss
machines. A shortened or lengthened cursor may look like an older one, so it must only not be answered with an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from conformance.core.errors import Unsupported
from conformance.core.lifecycle import State
from conformance.suite._list import current_revision, ids_in
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

AHEAD: Final = 10**12
"""Added to a cursor to get a future one; as nanoseconds of a clock, about a quarter of an hour."""


BYTE_ORDERS: Final[tuple[Literal["big", "little"], ...]] = ("big", "little")


def cursor_text(revision: bytes) -> str:
    """Returns a cursor as text for a report."""
    text = repr(revision) if revision.isascii() else revision.hex()
    return text if len(text) <= 48 else f"{text[:40]}… ({len(revision)} bytes)"


async def check_full_list(trial: Trial, revisions: Sequence[bytes], *, what: str, only: Sequence[State] = ()) -> None:
    """Checks that List with each cursor contains every machine that is in a List before and in one after."""
    states = only or trial.found.states_to_list(State.IDLE)
    before = set(ids_in(await expect.acked(trial.client.list(states))))
    calls: list[Call] = []
    for revision in revisions:
        calls.append(await expect.acked(trial.client.list(states, since=revision)))
    stable = before & set(ids_in(await expect.acked(trial.client.list(states)))) | {m.id for m in trial.machines}
    for revision, call in zip(revisions, calls, strict=True):
        missing = stable - set(ids_in(call))
        wanted = f"the full list after {what} {cursor_text(revision)}"
        expect.fact(
            not missing, wanted=wanted, got=f"{len(ids_in(call))} machines, {len(missing)} missing", calls=[call]
        )


@behaviour("LST-8a", machines=1)
async def test_garbage_is_answered_with_the_full_list(trial: Trial) -> None:
    await current_revision(trial)
    random = bytes([0xFF]) + trial.random.randbytes(1023)
    garbage = [b"not-a-cursor-of-anybody", b"\xff" * 8, random, "кур\0сор, который не".encode(), b"\xff" * 9]
    await check_full_list(trial, garbage, what="the invalid cursor")
    await check_full_list(trial, garbage[:2], what="a filter and the invalid cursor", only=[State.IDLE])


@behaviour("LST-8b", machines=1)
async def test_a_cursor_of_the_future_is_answered_with_the_full_list(trial: Trial) -> None:
    current = await current_revision(trial)
    future = future_cursors(current)
    if not future:
        raise Unsupported(f"the provider's cursors do not look like numbers: {cursor_text(current)}")
    await check_full_list(trial, future, what="the future cursor")


def future_cursors(revision: bytes) -> list[bytes]:
    """Returns later cursors than this one if it looks like a counter, decimal text or eight bytes; else none."""
    if revision.isdigit():
        count = int(revision)
        return [str(ahead).encode() for ahead in (count + AHEAD, 2 * count + AHEAD, 2**63 - 1, 10**30 + count)]
    if len(revision) == 8:
        future = []
        for order in BYTE_ORDERS:
            count = int.from_bytes(revision, order)
            if count + AHEAD < 2**63:
                future.append((count + AHEAD).to_bytes(8, order))
        return future
    return []


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
