"""Development tools: not installed with the kit."""
