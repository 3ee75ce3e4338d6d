"""Whatever answers: a run ends, in words, within its bounds, and leaves nothing that it does not name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.zoo.encounter import WHOLE, bound, meet
from tests.zoo.species import ZOO

if TYPE_CHECKING:
    from pathlib import Path

MOST = 400.0
"""Megabytes of memory that a run may ever have."""
LONGEST = max(map(bound, ZOO.values())) + 60


@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("key", ZOO)
def test_a_run_against_it_ends_in_words_and_leaves_nothing_unnamed(key: str, tmp_path: Path) -> None:
    species = ZOO[key]
    met = meet(species, tmp_path)
    said = f"{met.out}\n{met.err}"
    assert "Traceback" not in said
    assert "the kit itself failed" not in said
    assert met.code in species.codes, said
    assert WHOLE or re.search(species.says, met.headline), said
    assert met.megabytes <= MOST
    assert set(met.away) <= met.named, said
    assert met.open == met.named, said
    assert all(len(line) < 10_000 for line in said.splitlines())


def test_the_zoo_is_large() -> None:
    assert len(ZOO) >= 25
