"""The fleet of a core as its store and its backend know it. Replicas are cores that share both."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from fake_provider.hosts import Backend
from fake_provider.inventory import Inventory
from fake_provider.machine import Host, Machine
from fake_provider.store import MemoryStore, Snapshot, Store


class SavedFleet:
    """Changes the machines and marks of a fleet, and saves what was changed."""

    def __init__(self, fleet: Iterable[Machine], *, store: Store | None, backend: Backend | None) -> None:
        """Restores the saved fleet from the store; starts with `fleet` if nothing was saved."""
        self.store = store or MemoryStore()
        self.backend = backend
        self.inventory = Inventory()
        with self.store.exclusive():
            saved = self.store.load()
            if saved is None:
                self.found(fleet)
            else:
                self.inventory.restore(self.restored_part(saved))

    def found(self, fleet: Iterable[Machine]) -> None:
        """Starts a new fleet, whose hosts may run already."""
        for machine in fleet:
            if machine.host:
                self.start_host(machine.host)
            self.put(machine)
        self.commit()

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The current fleet by machine id; use `put` to change a machine."""
        return self.inventory.machines

    def put(self, machine: Machine) -> Machine:
        """Stores the machine under its id; every change increments the revision (LST-6)."""
        self.inventory.revision += 1
        machine = replace(machine, revision=self.inventory.revision)
        self.inventory.put(machine)
        return machine

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keeps other replicas from changing anything until the body commits, or ends (ROL-4)."""
        with self.store.exclusive():
            self.synchronize()
            yield

    def synchronize(self) -> None:
        """Takes over what other replicas have saved."""
        changes = self.store.changes()
        if changes:
            self.inventory.merge(changes)

    def commit(self) -> None:
        """Saves all changes before the call is answered (DUR-1). Undoes them if they cannot be saved."""
        change = self.inventory.unsaved_change()
        if change is None:
            return
        try:
            self.store.save(self.saved_part(change))
        except BaseException:
            self.inventory.undo()
            raise
        self.inventory.mark_saved()

    def saved_part(self, change: Snapshot) -> Snapshot:
        """Returns the part of a change that is saved: all of it (DUR-1)."""
        return change

    def restored_part(self, saved: Snapshot) -> Snapshot:
        """Returns the part of the saved snapshot that a restart restores: all of it (DUR-1, DUR-2)."""
        return saved

    # The backend.

    def start_host(self, host: Host) -> None:
        """Starts a host in the backend, once however often it is called: its ref names it (HST-1)."""
        if self.backend:
            self.backend.start(host.ref)

    def terminate_host(self, host: Host) -> None:
        """Terminates a host in the backend (HST-2)."""
        if self.backend:
            self.backend.terminate(host.ref)
