"""Targets that mean no good, each in a process of its own behind a real socket: what the kit must survive."""
