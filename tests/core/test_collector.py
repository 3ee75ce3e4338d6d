"""Tests of when Python looks for reference cycles."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from conformance.core import collector

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _unchanged_collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_cycles_of_the_run_are_collected_and_imported_objects_are_left_alone() -> None:
    collector.start()
    assert gc.get_threshold()[0] == collector.STARTUP_THRESHOLD
    gc.unfreeze()
    collector.end_startup()
    imported = gc.get_freeze_count()
    assert imported > 10_000

    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
    assert gc.get_threshold() == collector.THRESHOLDS
    assert gc.get_freeze_count() == imported
