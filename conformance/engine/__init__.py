"""A run of the suite: session, preflight, scheduler, judge."""
