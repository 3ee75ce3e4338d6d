"""The names that users, scripts and CI jobs rely on are unchanged: keys, options, exit codes, ids."""

from __future__ import annotations

import pytest

from tests.frozen_surface import PARTS, WRITE, differences, frozen


@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", PARTS)
def test_the_public_surface_is_unchanged(part: str) -> None:
    found = differences(frozen()[part], PARTS[part]())
    assert not found, "\n  ".join(
        ("the public surface differs from tests/frozen_surface.json:", *found, f"if this is intended: {WRITE}")
    )
