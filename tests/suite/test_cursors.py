"""Cursors that are ahead of those that a provider has given."""

from __future__ import annotations

import time

import pytest

from conformance.suite._cursors import future_cursors, near_cursors

AHEAD = 10**12
NOW = int(time.time())


@pytest.mark.parametrize(
    ("first", "now", "near"),
    [
        (b"24", b"215", [b"216", b"222"]),
        (b"r24", b"r215", [b"r216", b"r222"]),
        (b"v1:24", b"v1:215", [b"v1:216", b"v1:222"]),
        (b"rev-0099", b"rev-0109", [b"rev-0110", b"rev-0116"]),
        (b'{"rev": 24}', b'{"rev": 215}', [b'{"rev": 216}', b'{"rev": 222}']),
        (b"\0\0\0\x05", b"\0\0\0\x19", [b"\0\0\0\x1a", b"\0\0\0\x20"]),
        (b"\x05" + bytes(7), b"\x19" + bytes(7), [b"\x1a" + bytes(7), b"\x20" + bytes(7)]),
        (b"\xaa" * 8 + bytes(7) + b"\x05", b"\xaa" * 8 + bytes(7) + b"\x19", [b"\xaa" * 8 + bytes(7) + b"\x1a"]),
    ],
)
def test_a_counter_has_next_cursors(first: bytes, now: bytes, near: list[bytes]) -> None:
    assert near_cursors(now, first, transitions=100)[: len(near)] == near


@pytest.mark.parametrize(
    ("first", "now"),
    [
        (b"215", b"215"),  # nothing has changed yet
        (b"215", b"24"),  # it has shrunk
        (b"24", b"21500"),  # it moves much faster than the run's transitions
        (f"{NOW}000".encode(), f"{NOW}040".encode()),  # milliseconds of a clock
        (f"{NOW}".encode(), f"{NOW + 3}".encode()),
        (b"1-24", b"2-215"),
        (b"9f86d081", b"884c7d65"),  # a hash
        (b"abc", b"abe"),
        (b"\x9f\x86\xd0\x81\x88\x4c\x7d\x65", b"\x2c\xf2\x4d\xba\x5f\xb0\xa3\x0e"),
        (b"24", b"r215"),
    ],
    ids=["unchanged", "shrunk", "fast", "milliseconds", "seconds", "pair", "hash", "text", "bytes", "mixed"],
)
def test_what_may_be_a_clock_or_a_hash_has_no_next_cursors(first: bytes, now: bytes) -> None:
    assert near_cursors(now, first, transitions=100) == []


def test_a_text_with_a_number_has_future_cursors() -> None:
    assert future_cursors(b"r215", b"r24") == [f"r{215 + AHEAD}".encode()]
    assert future_cursors(b"rev-0109", b"rev-0099")[0] == f"rev-{109 + AHEAD}".encode()


def test_digits_and_eight_bytes_have_future_cursors_before_anything_changes() -> None:
    assert str(215 + AHEAD).encode() in future_cursors(b"215", b"215")
    assert (215 + AHEAD).to_bytes(8, "big") in future_cursors((215).to_bytes(8, "big"), (215).to_bytes(8, "big"))


@pytest.mark.parametrize("now", [b"abe", b"r24", b"", b"\xff" * 16])
def test_other_cursors_have_none(now: bytes) -> None:
    assert future_cursors(now, b"r24") == []
