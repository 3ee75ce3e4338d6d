"""Cursors: a revision of the inventory as the bytes a caller carries about (LST-5).

A cursor is a decimal number, of the origin and the revision together, so that one from a provider that lost
its count is told apart from one of ours.
"""

import secrets

_BITS = 40
"""A revision's share of the number: enough for a change every millisecond for thirty years."""


def new_origin() -> int:
    """A number that tells one inventory's cursors and operation ids from all others'."""
    return secrets.randbelow(1 << 20) + 1


def encode(origin: int, revision: int) -> bytes:
    """The cursor of a revision."""
    return str((origin << _BITS) | revision).encode()


def decode(origin: int, cursor: bytes) -> int | None:
    """The cursor's revision; None where it is garbage or another inventory's."""
    if not cursor.isdigit() or len(cursor) > 20:
        return None
    stamp, revision = divmod(int(cursor), 1 << _BITS)
    return revision if stamp == origin else None
