"""The machines of a run: probe, pool, drive, ledger, ownership, recovery, sweep."""
