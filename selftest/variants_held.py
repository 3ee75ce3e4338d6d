"""Variants that look different after some time or after many changes; registered by selftest.variants."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.machine import State
from selftest.variant import variant

if TYPE_CHECKING:
    from fake_provider.machine import Machine
    from fake_provider.request import Filter, Listing


@variant(hold=2.0)
class PrunesCursors(Core):
    """Keeps the last 20 changes, and answers an older cursor with the full list, as after a restart (LST-8).

    The cursor of a page stays valid: with a full list for it, no caller could page through a large fleet (LST-9).
    """

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        if not wanted.max_results and self.since(wanted.since) < self.inventory.revision - 20:
            wanted = replace(wanted, since=b"")
        return super().list_machines(wanted, now)


@variant(hold=2.0)
class CursorsLastForASecond(Core):
    """Answers a cursor that is older than a second with the full list (LST-8)."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        given: dict[bytes, float] = self.__dict__.setdefault("given", {})
        if now - given.get(wanted.since, now) > 1:
            wanted = replace(wanted, since=b"")
        listing = super().list_machines(wanted, now)
        given.setdefault(listing.revision, now)
        return listing


@variant(hold=2.0)
class RestingMachinesAreRepriced(Core):
    """Changes the price and the labels of a machine each second while it rests (LST-4)."""

    def advance(self, now: float) -> None:
        super().advance(now)
        for machine in list(self.machines.values()):
            if machine.state in (State.IDLE, State.CONFIGURED) and machine.labels.get("second") != str(int(now)):
                self.put(self.repriced(machine, int(now)))
        self.commit()

    def repriced(self, machine: Machine, second: int) -> Machine:
        """Returns the machine with its price in this second."""
        labels = {**machine.labels, "second": str(second)}
        return replace(machine, price_per_hour=0.1 + second % 7 / 100, labels=labels)
