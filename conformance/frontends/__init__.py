"""The ways to start the kit: command line, pytest plugin, Python API."""
