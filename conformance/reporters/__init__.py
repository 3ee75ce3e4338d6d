"""How a run is shown: `progress` and `log` while it goes on, the others as pure functions of its report."""
