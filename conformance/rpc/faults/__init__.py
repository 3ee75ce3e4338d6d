"""Faults that the kit injects between itself and the provider."""
