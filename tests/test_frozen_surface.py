"""What users, scripts and CI jobs rely on by name stays as frozen: keys, options, exit codes, ids."""

from __future__ import annotations

import pytest

from tests.frozen_surface import PARTS, WRITE, differences, frozen


@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", PARTS)
def test_the_public_surface_is_unchanged(part: str) -> None:
    told = differences(frozen()[part], PARTS[part]())
    assert not told, "\n  ".join(
        ("the public surface differs from tests/frozen_surface.json:", *told, f"if that is on purpose: {WRITE}")
    )
