"""Shows a run: `progress` and `log` listen to its events, the others are pure functions of its report."""
