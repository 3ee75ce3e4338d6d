"""Cursors: revisions of the inventory, encoded as bytes (LST-5).

A cursor is a decimal number made of the origin and the revision, so that a cursor from a provider that lost its count
differs from ours.
"""

import secrets

_REVISION_BITS = 40
"""The number of bits for the revision: enough for one change per millisecond for thirty years."""


def new_origin() -> int:
    """Returns a random number that distinguishes the cursors and operation ids of one inventory from all others."""
    return secrets.randbelow(1 << 20) + 1


def encode(origin: int, revision: int) -> bytes:
    """Returns the cursor of a revision."""
    return str((origin << _REVISION_BITS) | revision).encode()


def decode(origin: int, cursor: bytes) -> int | None:
    """Returns the revision of a cursor; None if it is invalid or from another inventory."""
    if not cursor.isdigit() or len(cursor) > 20:
        return None
    cursor_origin, revision = divmod(int(cursor), 1 << _REVISION_BITS)
    return revision if cursor_origin == origin else None
